// Which of the texts on the standard input are one stream selector of LogQL, by Grafana's own grammar.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

function isSelector(text) {
  const names = [];
  parser.parse(text).iterate({ enter: (node) => { names.push(node.type.isError ? "error" : node.name); } });
  return names.includes("Selector") && !names.includes("error") && !names.includes("PipelineExpr");
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(isSelector)));

// Reads a JSON list of [module, kind, object] and prints a list of what each validator says: null where it is content.
let text = "";
for await (const part of process.stdin) text += part;
const verdicts = [];
for (const [module, kind, object] of JSON.parse(text)) {
  try {
    const models = await import(module);
    new models[kind](object).validate();
    verdicts.push(null);
  } catch (error) {
    verdicts.push(error.message);
  }
}
process.stdout.write(JSON.stringify(verdicts));

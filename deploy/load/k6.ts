// The same visitors for k6: `k6 run -e PROFILE=spike -e HOST=http://127.0.0.1:8000 deploy/load/k6.ts`.
// What they do and how many come is in profiles.json, as for Locust.

import { check } from "k6";
import http from "k6/http";
import type { Options, Stage } from "k6/options";

interface Profile {
  why: string;
  stages: { seconds: number; per_second: number; to_per_second?: number }[];
  criteria: { failed_max: number; p95_ms: number };
}

const profiles: Record<string, Profile> = JSON.parse(open("./profiles.json"));
const name = __ENV.PROFILE ?? "baseline";
const host = __ENV.HOST ?? "http://127.0.0.1:8000";
const profile = profiles[name];
if (profile === undefined) {
  throw new Error(`PROFILE must be one of ${Object.keys(profiles).join(", ")}, got ${name}`);
}

const words = ["lamp", "oak", "teapot", "wool", "radio", "brass", "mug", "linen"];
const where = { name: "A Customer", line1: "1 Street", city: "Town", postcode: "12345", country: "DE" };
const card = { number: "4242424242424242", expiry: "12/39", cvc: "123" };

// k6 goes evenly from one rate to the next, so a stage that begins with another rate needs a jump before it.
const stages: Stage[] = profile.stages.flatMap((stage) => [
  { duration: "0s", target: stage.per_second },
  { duration: `${stage.seconds}s`, target: stage.to_per_second ?? stage.per_second },
]);

export const options: Options = {
  scenarios: {
    visitors: {
      executor: "ramping-arrival-rate",
      startRate: profile.stages[0]?.per_second ?? 1,
      timeUnit: "1s",
      preAllocatedVUs: 50,
      maxVUs: 500,
      stages,
    },
  },
  thresholds: {
    http_req_failed: [`rate<=${profile.criteria.failed_max}`],
    http_req_duration: [`p(95)<=${profile.criteria.p95_ms}`],
  },
};

function sku(): string {
  return `SP-${String(20 + Math.floor(Math.random() * 3980)).padStart(5, "0")}`;
}

function buy(): void {
  const cart = `cart-${__VU}-${__ITER}-${Date.now()}`;
  const headers = { "Content-Type": "application/json" };
  http.put(`${host}/api/v1/carts/${cart}/items/${sku()}`, JSON.stringify({ quantity: 1 }), { headers });
  const order = JSON.stringify({ cart_id: cart, email: "customer@example.org", address: where, card });
  const paid = http.post(`${host}/api/v1/checkout`, order, { headers: { ...headers, "Idempotency-Key": `"${cart}"` } });
  check(paid, { "the order is paid": (answer) => answer.status === 201 });
}

export default function visit(): void {
  const dice = Math.random() * 25;
  if (dice < 12) {
    http.get(`${host}/api/v1/products?limit=12`, { tags: { name: "list" } });
  } else if (dice < 20) {
    http.get(`${host}/api/v1/products/${sku()}`, { tags: { name: "product" } });
  } else if (dice < 24) {
    const word = words[Math.floor(Math.random() * words.length)];
    http.get(`${host}/api/v1/products?limit=12&q=${word}`, { tags: { name: "search" } });
  } else {
    buy();
  }
}

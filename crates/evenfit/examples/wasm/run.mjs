// node run.mjs MODULE.wasm: runs the module and checks what it answers.
import { readFileSync } from "node:fs";

const path = process.argv[2];
if (!path) {
  console.error("usage: node run.mjs MODULE.wasm");
  process.exit(2);
}
const bytes = readFileSync(path);
const { instance } = await WebAssembly.instantiate(bytes, {});
const { most_frequent, refuses_what_it_has_not, used_bytes, peak_used_bytes } = instance.exports;

const check = (name, found, expected) => {
  if (found !== expected) {
    console.error(`${name}: ${found}, not ${expected}`);
    process.exit(1);
  }
};
const counts = new Map();
for (let i = 0; i < 2000; i++) {
  const word = `word ${(i * i) % 97}`;
  counts.set(word, (counts.get(word) ?? 0) + 1);
}
check("most_frequent", most_frequent(2000, 200), Math.max(...counts.values()));
check("refuses_what_it_has_not", refuses_what_it_has_not(), 1);
if (used_bytes) check("used_bytes", used_bytes(), 0);
const peak = peak_used_bytes ? `, peak ${peak_used_bytes()} bytes` : "";
console.log(`${path.split("/").pop()}: ${bytes.length} bytes of module${peak}: as expected`);

// Reads exports by speedscope's importer, as its package has it, and prints the samples of each
// function by itself and with what it has called, as JSON.
//
// usage: node speedscope.cjs MODULES FILE...     the folder with speedscope in it
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [modules, ...files] = process.argv.slice(2);
const release = path.join(modules, "speedscope", "dist", "release");
const bundle = fs.readdirSync(release).find((name) => /^speedscope-.*\.js$/.test(name));
let source = fs.readFileSync(path.join(release, bundle), "utf8");
// The package has the page alone. Its importer is what the page hands files to.
const importer = /loadFileFromBase64:\((\w+),(\w+)\)=>\{this\.loadProfile\(\(\)=>([\w$]+)\(\1,\2\)\)/.exec(source);
const start = '"use strict";(()=>{';
if (!importer || !source.startsWith(start)) throw new Error(`speedscope has no importer where it was: ${bundle}`);
source = source.replace(start, `${start}globalThis.importFile=(n,b)=>${importer[3]}(n,b);`);

// There is no page: whatever is asked of it is this.
const nothing = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => "" : key === "length" ? 0 : nothing),
  apply: () => nothing,
  construct: () => nothing,
  set: () => true,
  has: () => true,
});
Object.assign(globalThis, { window: globalThis, document: nothing, localStorage: nothing });
globalThis.location = { hash: "", protocol: "file:", href: "" };
globalThis.addEventListener = () => {};
console.log = () => {};
try {
  vm.runInThisContext(source);
} catch {
  // To draw the page fails; the importer is there.
}

async function shares(file) {
  const group = await globalThis.importFile(path.basename(file), fs.readFileSync(file).toString("base64"));
  if (!group) throw new Error(`speedscope does not import ${file}`);
  const all = {};
  for (const profile of group.profiles) {
    profile.forEachFrame((frame) => {
      const share = (all[frame.name] ??= [0, 0]);
      share[0] += frame.getSelfWeight();
      share[1] += frame.getTotalWeight();
    });
  }
  return all;
}

(async () => {
  const all = {};
  for (const file of files) all[file] = await shares(file);
  process.stdout.write(JSON.stringify(all));
})().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});

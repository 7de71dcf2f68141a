// Builds packages (all, or those named) from src/ into dist/: every file is parsed first.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { check } from './check.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const names = process.argv.length > 2 ? process.argv.slice(2) : ['web', 'worker'];
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

const checked = ['shared', ...names];
const failed = await Promise.all(checked.map((name) => check(join(root, 'packages', name, 'src'))));
for (const [index, name] of checked.entries()) {
  if (failed[index] > 0) {
    console.error(`build failed: ${failed[index]} file(s) of packages/${name} can't be parsed`);
    process.exitCode = 1;
  }
}
if (process.exitCode) process.exit();
for (const name of names) {
  const dist = join(root, 'packages', name, 'dist');
  // Beside it first: a build that fails leaves the old one whole.
  rmSync(`${dist}.new`, { recursive: true, force: true });
  mkdirSync(`${dist}.new`);
  cpSync(join(root, 'packages', name, 'src'), `${dist}.new`, { recursive: true });
  writeFileSync(join(`${dist}.new`, 'build.json'), JSON.stringify({ version, commit: commit() }));
  rmSync(dist, { recursive: true, force: true });
  renameSync(`${dist}.new`, dist);
  console.log(`built packages/${name} ${version}`);
}

function commit() {
  if (!existsSync(join(root, '.git'))) return null;
  return execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
}

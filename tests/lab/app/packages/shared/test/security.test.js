import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashPassword, isPassword, newSession, userOf } from '../src/security.js';

test('a password is known by its hash only', () => {
  const hash = hashPassword('correct horse');
  assert.ok(isPassword('correct horse', hash));
  assert.ok(!isPassword('battery staple', hash));
});

test('a session of another secret, or too old, is refused', () => {
  assert.equal(userOf(newSession(7, 'secret'), 'secret'), 7);
  assert.equal(userOf(newSession(7, 'secret'), 'other'), null);
  assert.equal(userOf(newSession(7, 'secret', -1), 'secret'), null);
});

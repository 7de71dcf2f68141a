// Passwords, sessions and CSRF tokens.
import { createHmac, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';

export function hashPassword(password, salt = randomBytes(16).toString('hex')) {
  return `${salt}:${scryptSync(password, salt, 32).toString('hex')}`;
}

export function isPassword(password, hash) {
  return same(hashPassword(password, hash.split(':')[0]), hash);
}

export function same(a, b) {
  const [x, y] = [Buffer.from(String(a)), Buffer.from(String(b))];
  return x.length === y.length && timingSafeEqual(x, y);
}

export function newToken() {
  return randomBytes(24).toString('base64url');
}

// A session is signed, not stored: `user.expiry.signature`.
export function newSession(user, secret, seconds = 3600) {
  const body = `${user}.${Math.floor(Date.now() / 1000) + seconds}`;
  return `${body}.${sign(body, secret)}`;
}

// The user of a session, or null when it is forged or too old.
export function userOf(session, secret) {
  const [user, expiry, signature] = String(session ?? '').split('.');
  if (!signature || !same(signature, sign(`${user}.${expiry}`, secret))) return null;
  return Number(expiry) > Date.now() / 1000 ? Number(user) : null;
}

function sign(body, secret) {
  return createHmac('sha256', secret).update(body).digest('base64url');
}

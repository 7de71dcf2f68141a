// The routes of the site.
import { log, newToken, same, within } from '@eaf/shared';
import express from 'express';
import { accounts } from './accounts.js';
import { copies } from './copies.js';
import { health } from './health.js';

export function createApp(site) {
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', 'loopback');
  app.use(headers, requestLog);
  app.use(express.urlencoded({ extended: false }), express.json({ limit: site.maxUpload }));
  app.use(cookies, csrf(site));

  app.get('/api/v1/health', health(site));
  accounts(app, site);
  copies(app, site);

  app.get('/api/v1/rag/search', async (request, response) => {
    const wanted = String(request.query.q ?? '');
    const { rows } = await site.database.query(
      'SELECT "id", "title" FROM "Document" WHERE "title" || \' \' || "content" ILIKE $1 ORDER BY "id"',
      [`%${wanted.replace(/[\\%_]/g, '\\$&')}%`],
    );
    response.json({ mode: 'lexical', query: wanted, results: rows });
  });

  // Figures of the visitors' browsers: kept for a day, lost without harm.
  app.post('/api/v1/metrics/vitals', async (request, response) => {
    const { name, value } = request.body ?? {};
    await within(500, site.redis.set(`vitals:${name}`, Number(value), 'EX', 86_400)).catch(() => {});
    response.status(202).json({ accepted: true });
  });

  app.use((error, request, response, next) => {
    const status = error.status ?? 500;
    if (status >= 500) log.error({ err: error.message, path: request.path }, 'request failed');
    if (response.headersSent) return next(error);
    response.status(status).json({ error: status >= 500 ? 'internal error' : error.message });
  });
  return app;
}

function headers(request, response, next) {
  response.set('Content-Security-Policy', "default-src 'self'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'");
  response.set('X-Content-Type-Options', 'nosniff');
  response.set('Referrer-Policy', 'same-origin');
  next();
}

function requestLog(request, response, next) {
  const start = performance.now();
  response.on('finish', () => {
    const ms = Math.round(performance.now() - start);
    log.info({ method: request.method, path: request.path, status: response.statusCode, ms }, 'request');
  });
  next();
}

function cookies(request, response, next) {
  request.cookies = Object.fromEntries(
    (request.headers.cookie ?? '')
      .split(/;\s*/)
      .filter((pair) => pair.includes('='))
      .map((pair) => [pair.slice(0, pair.indexOf('=')), decodeURIComponent(pair.slice(pair.indexOf('=') + 1))]),
  );
  next();
}

// The token of the cookie must come back in a header or a field.
function csrf({ secureCookies }) {
  return (request, response, next) => {
    request.csrfToken = () => {
      const token = request.cookies.csrf ?? newToken();
      response.cookie('csrf', token, { sameSite: 'strict', secure: secureCookies });
      return token;
    };
    if (['GET', 'HEAD', 'OPTIONS'].includes(request.method) || request.path.startsWith('/api/v1/metrics/')) {
      return next();
    }
    const sent = request.get('X-CSRF-Token') ?? request.body?.csrf;
    if (!request.cookies.csrf || !sent || !same(sent, request.cookies.csrf)) {
      return response.status(403).json({ error: 'CSRF token missing or wrong' });
    }
    next();
  };
}

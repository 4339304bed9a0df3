// The shop's page: one stream of events feeds every part of it.

import { announce, byId, painter, setAttribute, setText, toast } from './js/dom.js';
import { millis, plural, serviceOf } from './js/format.js';
import { Stream, get, keepFresh } from './js/api.js';
import * as shop from './js/shop.js';
import * as orders from './js/orders.js';
import * as events from './js/events.js';
import * as system from './js/system.js';
import * as proof from './js/proof.js';

shop.start((answer) => {
  orders.placed(answer);
  touchAll();
});
shop.startBurst();
orders.start();
events.start();
system.start();
startTheme();

const fresh = [
  keepFresh('/proof', proof.showProof, 800),
  keepFresh('/inventory', shop.showStock, 1200),
  keepFresh('/analytics', proof.showAnalytics, 1200),
];
const touchAll = () => fresh.forEach((figure) => figure.touch());

let batch = [];
let caughtUp = -1;
/** A stream that begins again repeats events already shown; this remembers the last few thousand. */
const seen = new Set();

const deliver = painter(() => {
  const records = batch;
  batch = [];
  if (records.length === 0) return;
  events.observe(records);
  orders.observe(records);
  shop.observeBurst(records);
  touchAll();
}, 30);

function take(record) {
  const id = record.event.eventId;
  if (seen.has(id)) return;
  seen.add(id);
  if (seen.size > 5000) seen.delete(seen.values().next().value);
  record.at = millis(record.event.timestamp);
  record.service = serviceOf(record.event.source);
  if (caughtUp >= 0) caughtUp += 1;
  batch.push(record);
  deliver();
}

function showHealth(health) {
  system.show(health);
  orders.observeHealth(health);
  events.nameServices(health.services.map((service) => service.name));
}

const PHASES = { connecting: 'connecting', live: 'live', catching: 'catching up', lost: 'reconnecting' };

function showPhase(phase) {
  setAttribute(byId('link'), 'data-phase', phase);
  setText(byId('link-text'), PHASES[phase]);
}

function onPhase(phase, attempt) {
  document.body.dataset.link = phase;
  if (phase === 'lost') {
    showPhase('lost');
    if (attempt === 1) announce('The connection to the shop is lost. Reconnecting.');
    return;
  }
  showPhase(attempt > 0 ? 'catching' : 'live');
  if (attempt > 0) caughtUp = 0;
  shop.loadProducts().catch(() => {});
  get('/health').then(showHealth).catch(() => {});
  if (attempt > 0) settle();
  orders.refresh();
  touchAll();
}

/** After a reconnection: what was missed has been read once the stream is quiet, or soon under load. */
function settle() {
  let before = -1;
  let looks = 0;
  const look = setInterval(() => {
    looks += 1;
    if (caughtUp !== before && looks < 6) {
      before = caughtUp;
      return;
    }
    clearInterval(look);
    if (document.body.dataset.link !== 'live') return;
    showPhase('live');
    toast(caughtUp > 0 ? `Connected again, caught up with ${plural(caughtUp, 'event')}.` : 'Connected again, nothing was missed.');
    caughtUp = -1;
  }, 300);
}

function startTheme() {
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : dark.matches);
  const label = () => byId('theme').setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
  byId('theme').addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    try {
      localStorage.setItem('dhara.theme', root.dataset.theme);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
    label();
  });
  dark.addEventListener('change', label);
  label();
}

new Stream('/events', {
  onMessage: (type, data) => (type === 'status' ? showHealth(data) : type === 'event' && take(data)),
  onPhase,
}).run();

// My orders: the steps of each, as they happen in whichever service.

import { announce, arrange, byId, h, painter, setAttribute, setText } from './dom.js';
import { amount, clock, elapsed, millis, plural, serviceOf, span, tail } from './format.js';
import { get } from './api.js';

const STORED = 'dhara.orders';
const MOST = 30;

const orders = new Map();
/** The stream may be ahead of the answer to POST /orders, so its last events are kept a while. */
let recent = [];
let services = new Map();
const draw = painter(() => shown().forEach(drawOrder));
const shown = () => [...orders.values()].reverse();

export function start() {
  for (const id of stored()) track(id, false);
  byId('forget').addEventListener('click', forgetAll);
  // The wait of a pending order grows while nothing happens to it.
  setInterval(() => [...orders.values()].some((order) => order.status === 'pending') && draw(), 1000);
  setInterval(() => refresh((order) => order.status === 'pending'), 5000);
}

function stored() {
  try {
    const ids = JSON.parse(localStorage.getItem(STORED) ?? '[]');
    return Array.isArray(ids) ? ids.filter((id) => typeof id === 'string').slice(-MOST) : [];
  } catch {
    return [];
  }
}

function store() {
  try {
    localStorage.setItem(STORED, JSON.stringify([...orders.keys()]));
  } catch {
    // Without storage the list lasts as long as the page.
  }
}

function forgetAll() {
  orders.clear();
  store();
  arrangeAll();
  byId('orders').focus();
}

/** Takes an order that was just accepted, opens its timeline and goes there. */
export function placed(answer) {
  for (const order of orders.values()) setOpen(order, false);
  const order = track(answer.orderId, true);
  order.total ??= answer.totalAmount;
  while (orders.size > MOST) orders.delete(orders.keys().next().value);
  store();
  arrangeAll();
  draw();
  order.toggle.focus({ preventScroll: true });
  order.node.scrollIntoView({ block: 'nearest' });
  announce('Order accepted');
  fetchOrder(order);
}

function track(id, open) {
  if (orders.has(id)) return orders.get(id);
  const order = { id, status: 'unknown', steps: new Map(), rows: new Map(), ...skeleton(id) };
  order.toggle.addEventListener('click', () => {
    setOpen(order, order.body.hidden);
    draw();
  });
  setOpen(order, open);
  orders.set(id, order);
  for (const record of recent) if (record.key === id) addStep(order, stepOf(record.event));
  arrangeAll();
  return order;
}

function skeleton(id) {
  const badge = h('span', { class: 'badge' }, '…');
  const what = h('span', { class: 'what' });
  const took = h('span', { class: 'took' });
  const toggle = h('button', { type: 'button', class: 'order-head', 'aria-controls': `steps-${id}` }, badge, h('code', { title: id }, tail(id)), what, took);
  const who = h('p', { class: 'who' });
  const list = h('ol', { class: 'steps', 'aria-label': 'Steps of this order' });
  const waiting = h('p', { class: 'waiting', hidden: true });
  const body = h('div', { class: 'order-body', id: `steps-${id}` }, who, list, waiting);
  const node = h('article', { class: 'order', 'data-id': id, 'aria-label': `Order ${tail(id)}` }, toggle, body);
  return { node, toggle, badge, what, took, body, who, list, waiting };
}

function setOpen(order, open) {
  order.body.hidden = !open;
  order.toggle.setAttribute('aria-expanded', String(open));
}

function arrangeAll() {
  arrange(byId('orders-list'), shown().map((order) => order.node));
  byId('orders-empty').hidden = orders.size > 0;
  byId('forget').hidden = orders.size === 0;
}

/** Takes the stream's events; those of my orders become steps. */
export function observe(records) {
  recent = recent.concat(records).slice(-2000);
  let mine = false;
  for (const { key, event } of records) {
    const order = orders.get(key);
    if (order) mine = addStep(order, stepOf(event)) || mine;
  }
  if (mine) draw();
}

/** Which services run, so that a waiting order can say what it waits for. */
export function observeHealth(health) {
  services = new Map(health.services.map((service) => [service.name, service.state]));
  draw();
}

/** Asks the shop for the orders that `wanted` picks: after a reload, after a restart. */
export function refresh(wanted = () => true) {
  if (document.body.dataset.link === 'live') [...orders.values()].filter(wanted).forEach(fetchOrder);
}

async function fetchOrder(order) {
  try {
    const body = await get(`/orders/${encodeURIComponent(order.id)}`);
    order.total = body.totalAmount;
    order.items = body.items;
    order.user = body.userId;
    order.createdAt = millis(body.createdAt);
    order.reason = body.reason ?? order.reason;
    if (body.status !== 'pending' || order.status === 'unknown') order.status = body.status;
    for (const step of body.history ?? []) addStep(order, { ...step, at: millis(step.timestamp), service: serviceOf(step.source) });
  } catch (error) {
    // An id of another data folder: this shop never took that order.
    if (error.status === 404) {
      orders.delete(order.id);
      store();
      arrangeAll();
    }
  }
  draw();
}

function stepOf(event) {
  return { eventId: event.eventId, eventType: event.eventType, at: millis(event.timestamp), timestamp: event.timestamp,
    service: serviceOf(event.source), cause: event.causationId, summary: summaryOf(event.data ?? {}), data: event.data ?? {} };
}

function summaryOf(data) {
  if (data.reason) return String(data.reason);
  if (data.subject) return String(data.subject);
  if (data.amount != null) return amount(data.amount);
  if (data.items) return plural(data.items.reduce((sum, item) => sum + (item.quantity ?? 0), 0), 'piece');
  return '';
}

function addStep(order, step) {
  const known = order.steps.get(step.eventId);
  if (known && (known.data || !step.data)) return false;
  order.steps.set(step.eventId, { ...known, ...step, summary: step.summary || known?.summary || '' });
  const { userId, totalAmount, reason } = step.data ?? {};
  if (step.eventType === 'OrderCreated') {
    order.user ??= userId;
    order.total ??= totalAmount;
    if (order.status === 'unknown') order.status = 'pending';
  }
  if (step.eventType === 'OrderConfirmed') ended(order, 'confirmed');
  if (step.eventType === 'OrderRejected') ended(order, 'rejected', reason);
  return true;
}

function ended(order, status, reason) {
  if (order.status === 'pending') announce(`Order ${tail(order.id)} ${status}${reason ? `: ${reason}` : ''}`);
  order.status = status;
  order.reason ??= reason;
}

const WORDS = { unknown: '…', pending: 'pending', confirmed: 'confirmed', rejected: 'rejected' };

function drawOrder(order) {
  const steps = [...order.steps.values()].sort((a, b) => a.at - b.at);
  const start = steps.find((step) => step.eventType === 'OrderCreated')?.at ?? order.createdAt ?? steps[0]?.at;
  const end = steps.find((step) => step.eventType === 'OrderConfirmed' || step.eventType === 'OrderRejected');
  setAttribute(order.node, 'data-status', order.status);
  setText(order.badge, WORDS[order.status] ?? order.status);
  setText(order.what, order.total == null ? '' : amount(order.total));
  setText(order.took, end ? span(end.at - start) : order.status === 'pending' && start ? elapsed(Date.now() - start) : '');
  if (order.body.hidden) return;
  const goods = (order.items ?? []).map((item) => `${item.quantity} × ${item.name ?? item.sku}`).join(', ');
  setText(order.who, [order.user, goods].filter(Boolean).join(' · '));
  drawSteps(order, steps, start);
  const waits = order.status === 'pending' ? waitingFor(order) : '';
  setText(order.waiting, order.status === 'rejected' && order.reason ? `Rejected: ${order.reason}` : waits);
  order.waiting.hidden = !order.waiting.textContent;
}

/** Each step has a bar from the event that caused it to its own moment: the time spent in it. */
function drawSteps(order, steps, start) {
  const whole = Math.max(0.5, (steps.at(-1)?.at ?? start) - start);
  const nodes = steps.map((step) => {
    const row = order.rows.get(step.eventId) ?? stepRow(order, step);
    const from = Math.min(step.at, order.steps.get(step.cause)?.at ?? start) - start;
    row.bar.style.setProperty('--from', `${((100 * from) / whole).toFixed(2)}%`);
    row.bar.style.setProperty('--to', `${((100 * (step.at - start)) / whole).toFixed(2)}%`);
    setText(row.summary, step.summary);
    setText(row.time, step.at === start ? 'placed' : `+${span(step.at - start)}`);
    return row.node;
  });
  arrange(order.list, nodes);
}

function stepRow(order, step) {
  const bar = h('i', {});
  const summary = h('span', { class: 'summary' });
  const time = h('time', { datetime: step.timestamp, title: `${clock(step.timestamp)}, ${step.eventId}` });
  const mood = /Rejected|Failed/.test(step.eventType) ? 'bad' : /Refunded|Released/.test(step.eventType) ? 'undo' : 'good';
  const node = h('li', { class: 'step', 'data-service': step.service, 'data-type': step.eventType, 'data-mood': mood },
    h('span', { class: 'type' }, step.eventType), time, h('span', { class: 'where' }, h('span', { class: 'service' }, step.service), summary), h('span', { class: 'track', 'aria-hidden': 'true' }, bar));
  const row = { node, bar, summary, time };
  order.rows.set(step.eventId, row);
  return row;
}

function waitingFor(order) {
  const types = new Set([...order.steps.values()].map((step) => step.eventType));
  const missing = [];
  if (!types.has('PaymentCompleted') && !types.has('PaymentFailed')) missing.push('payment');
  if (!types.has('StockReserved') && !types.has('StockRejected')) missing.push('inventory');
  if (missing.length === 0) missing.push('order');
  const names = missing.map((name) => (services.get(name) === 'stopped' ? `${name} (stopped)` : name));
  return `Waiting for ${names.join(' and ')}. The order goes on by itself when that is back.`;
}

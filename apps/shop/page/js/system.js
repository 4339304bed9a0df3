// The five services, the bank and the dead letters, with the buttons that break them.

import { announce, arrange, byId, h, setAttribute, setText, toast } from './dom.js';
import { clock, elapsed, plural, short, span } from './format.js';
import { get, post } from './api.js';

const rows = new Map();
let deadLetters = -1;

export function start() {
  byId('bank').addEventListener('click', (event) => {
    const mode = event.target.closest('[data-bank]')?.dataset.bank;
    if (mode) setBank(mode);
  });
}

export function show(health) {
  for (const service of health.services) {
    if (!rows.has(service.name)) rows.set(service.name, serviceRow(service.name));
    drawService(rows.get(service.name), service);
  }
  arrange(byId('service-rows'), health.services.map((service) => rows.get(service.name).node));
  if (health.bank) drawBank(health.bank);
  drawFoot(health);
  const dead = health.services.reduce((sum, service) => sum + (service.deadLetters ?? 0), 0);
  if (dead !== deadLetters) loadDeadLetters(dead);
}

const FIGURES = ['lag', 'inHand', 'retrying', 'deadLetters', 'handled'];
const LABELS = { lag: 'Lag', inHand: 'In hand', retrying: 'Retrying', deadLetters: 'Dead', handled: 'Handled' };

function serviceRow(name) {
  const state = h('span', { class: 'state' });
  const error = h('span', { class: 'last-error' });
  const cells = Object.fromEntries(FIGURES.map((figure) => [figure, h('td', { 'data-figure': figure, 'data-label': LABELS[figure] }, '0')]));
  const button = h('button', { type: 'button' }, 'Stop');
  const node = h('tr', { 'data-service': name },
    h('th', { scope: 'row' }, h('span', { class: 'name' }, h('i', { 'aria-hidden': 'true' }), name), state, error), ...Object.values(cells), h('td', { class: 'control' }, button));
  const row = { name, node, state, error, cells, button, running: true };
  button.addEventListener('click', () => toggle(row));
  return row;
}

function drawService(row, service) {
  const before = row.node.dataset.state;
  setAttribute(row.node, 'data-state', service.state);
  if (before && before !== service.state) announce(`${service.name} is ${service.state}`);
  row.running = service.state === 'running';
  setText(row.state, row.running && service.outbox > 0 ? `running, ${short(service.outbox)} in the outbox` : service.state);
  for (const figure of FIGURES) {
    setText(row.cells[figure], short(service[figure]));
    setAttribute(row.cells[figure], 'data-zero', service[figure] ? null : '');
  }
  const trouble = service.retrying > 0 || service.state === 'failed' ? (service.lastError ?? '') : '';
  setText(row.error, trouble);
  setAttribute(row.error, 'title', trouble || null);
  setText(row.button, row.running ? 'Stop' : 'Start');
  setAttribute(row.button, 'aria-label', `${row.running ? 'Stop' : 'Start'} ${row.name}`);
}

async function toggle(row) {
  await withButton(row.button, async () => {
    const service = await post(`/services/${encodeURIComponent(row.name)}/${row.running ? 'stop' : 'start'}`);
    if (service?.state) drawService(row, service);
  });
}

const BANK = {
  up: () => 'answers at once',
  slow: (bank) => `answers after ${span(bank.slowMs ?? 0)}`,
  failing: (bank) => `fails ${Math.round((bank.failRate ?? 0) * 100)} % of charges`,
  down: () => 'is down: charges wait until it is back',
};

function drawBank(bank) {
  setAttribute(byId('bank'), 'data-mode', bank.state);
  setText(byId('bank-text'), BANK[bank.state]?.(bank) ?? bank.state);
  for (const button of byId('bank').querySelectorAll('[data-bank]')) setAttribute(button, 'aria-pressed', String(button.dataset.bank === bank.state));
}

async function setBank(mode) {
  await withButton(byId('bank').querySelector(`[data-bank=${mode}]`), async () => {
    const bank = await post('/bank', { mode });
    if (bank?.state) drawBank(bank);
    announce(`The bank ${BANK[mode](bank ?? {})}`);
  });
}

/** Runs `work` with the button marked busy; it keeps the focus, and a refusal is told. */
async function withButton(button, work) {
  if (button.getAttribute('aria-busy') === 'true') return;
  button.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (error) {
    toast(error.status ? error.message : 'The shop cannot be reached just now.');
  } finally {
    button.removeAttribute('aria-busy');
  }
}

async function loadDeadLetters(expected) {
  deadLetters = expected;
  try {
    const { deadLetters: letters } = await get('/dead-letters');
    setText(byId('dead-count'), letters.length);
    byId('dead').dataset.some = letters.length > 0 ? 'yes' : 'no';
    byId('dead-empty').hidden = letters.length > 0;
    byId('dead-list').replaceChildren(...letters.slice(0, 50).map(letter));
  } catch {
    deadLetters = -1;
  }
}

function letter(dead) {
  return h('li', { 'data-service': dead.service },
    h('p', {}, h('span', { class: 'service' }, dead.service), ' ', h('strong', {}, dead.eventType || 'unreadable event'), ' ', h('span', { class: 'muted' }, `in ${dead.handler || 'no handler'}, ${plural(dead.attempts, 'attempt')}, ${clock(dead.at)}`)),
    h('p', { class: 'reason' }, dead.error),
    h('p', { class: 'muted' }, h('code', {}, `${dead.topic}/${dead.partition}@${dead.offset}`), ' ', h('code', {}, dead.key ?? ''), ' ', h('code', {}, dead.eventId ?? '')));
}

function drawFoot(health) {
  setText(byId('foot'), [health.broker, health.store, `up ${elapsed((health.uptimeSeconds ?? 0) * 1000)}`].filter(Boolean).join('  ·  '));
}

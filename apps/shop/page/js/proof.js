// The proof that nothing is lost and nothing is charged twice, and the small analytics.

import { arrange, byId, h, setAttribute, setText } from './dom.js';
import { amount, count, plural, short } from './format.js';
import { products } from './shop.js';

const PROOF = [
  ['accepted', 'Accepted'], ['confirmed', 'Confirmed'], ['rejected', 'Rejected'], ['inFlight', 'In flight'],
  ['lost', 'Lost', 'never'], ['chargedTwice', 'Charged twice', 'never'], ['oversold', 'Oversold', 'never'], ['mails', 'Mails'],
];

const cells = new Map();

function figure(list, name, label, kind) {
  if (!cells.has(name)) {
    const value = h('dd', { 'data-figure': name, 'data-kind': kind }, '0');
    cells.set(name, value);
    list.append(h('div', {}, h('dt', {}, label), value));
  }
  return cells.get(name);
}

export function showProof(proof) {
  for (const [name, label, kind] of PROOF) {
    const cell = figure(byId('figures'), name, label, kind);
    setText(cell, count(proof[name]));
    if (kind === 'never') setAttribute(cell, 'data-bad', proof[name] > 0 ? 'yes' : 'no');
  }
  const [verdict, claim, note] = verdictOf(proof);
  setAttribute(byId('proof'), 'data-verdict', verdict);
  setText(byId('verdict'), claim);
  setText(byId('verdict-note'), note);
}

function verdictOf(proof) {
  const charges = `${plural(proof.charges, 'charge')} in the bank's ledger for ${plural(proof.toBeCharged, 'order')} to be charged, ${plural(proof.refunds, 'refund')}; ${count(proof.sold)} sold of ${count(proof.stock)} in stock.`;
  const faults = [[proof.lost, 'lost'], [proof.chargedTwice, 'charged twice'], [proof.oversold, 'oversold'], [proof.deadLetters, 'in the dead letters']].filter(([number]) => number > 0);
  if (!proof.ok || faults.length > 0) {
    const ids = (proof.lostOrders ?? []).slice(0, 3).join(', ');
    return ['broken', `Broken: ${faults.map(([number, word]) => `${count(number)} ${word}`).join(', ') || 'the ledgers disagree'}`, ids ? `Lost: ${ids}. ${charges}` : charges];
  }
  if (proof.accepted === 0) return ['waiting', 'No orders yet', 'Place one and this counts it in the bank\'s ledger, the stock and the record of every accepted order.'];
  if (proof.inFlight > 0) return ['flowing', 'Nothing lost, some on their way', charges];
  return ['proven', 'Nothing lost, nothing charged twice', charges];
}

const bars = new Map();

export function showAnalytics(analytics) {
  const list = byId('analytics-figures');
  setText(figure(list, 'created', 'Orders'), count(analytics.orders?.created));
  setText(figure(list, 'sales', 'Confirmed'), count(analytics.orders?.confirmed));
  setText(figure(list, 'refusals', 'Rejected'), count(analytics.orders?.rejected));
  setText(figure(list, 'revenue', 'Revenue'), amount(analytics.revenue));
  showProducts(analytics.byProduct ?? []);
  showMinutes((analytics.byMinute ?? []).slice(-30));
}

function showProducts(rows) {
  const best = [...rows].sort((a, b) => b.revenue - a.revenue).slice(0, 6);
  const most = Math.max(1, ...best.map((row) => row.revenue));
  const nodes = best.map((row) => {
    if (!bars.has(row.sku)) {
      const name = h('span', { class: 'name' });
      const value = h('span', { class: 'value' });
      const bar = h('i', { 'aria-hidden': 'true' });
      bars.set(row.sku, { node: h('li', {}, name, value, h('span', { class: 'track', 'aria-hidden': 'true' }, bar)), name, value, bar });
    }
    const bar = bars.get(row.sku);
    setText(bar.name, products.get(row.sku)?.name ?? row.sku);
    setText(bar.value, `${short(row.quantity)} · ${amount(row.revenue)}`);
    bar.bar.style.setProperty('--share', `${((100 * row.revenue) / most).toFixed(1)}%`);
    return bar.node;
  });
  arrange(byId('by-product'), nodes);
}

function showMinutes(minutes) {
  const box = byId('minutes');
  const most = Math.max(1, ...minutes.map((minute) => minute.orders));
  while (box.children.length < minutes.length) box.append(h('i'));
  while (box.children.length > minutes.length) box.lastElementChild.remove();
  minutes.forEach((minute, index) => {
    box.children[index].style.setProperty('--share', `${((100 * minute.orders) / most).toFixed(1)}%`);
    setAttribute(box.children[index], 'title', `${minute.minute.slice(11, 16)} UTC: ${plural(minute.orders, 'order')}, ${amount(minute.revenue)}`);
  });
  box.hidden = minutes.length < 2;
  setAttribute(box, 'aria-label', `Orders by minute, at most ${most}`);
}

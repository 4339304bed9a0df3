// How amounts, times and ids are written.

let money = moneyIn('BDT');

function moneyIn(currency) {
  return new Intl.NumberFormat('en', { style: 'currency', currency, currencyDisplay: 'code', trailingZeroDisplay: 'stripIfInteger' });
}

export function setCurrency(currency) {
  money = moneyIn(currency);
}

/** An amount in minor units: 150000 is BDT 1,500. */
export const amount = (minor) => money.format((minor ?? 0) / 100);

const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (number) => whole.format(number ?? 0);
export const short = (number) => ((number ?? 0) < 10_000 ? count(number) : compact.format(number));
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? '' : 's'}`;

/** Milliseconds since the epoch, with the fraction that Date.parse drops. */
export function millis(timestamp) {
  const at = Date.parse(timestamp);
  if (Number.isNaN(at)) return 0;
  const fraction = /\.\d{3}(\d{1,6})/.exec(timestamp);
  return fraction ? at + Number(`0.${fraction[1]}`) : at;
}

/** A span of time in the unit that suits it. */
export function span(ms) {
  if (ms < 0) return `−${span(-ms)}`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
}

/** The same for what is still growing: whole seconds. */
export const elapsed = (ms) => (ms < 60_000 ? `${Math.max(0, Math.floor(ms / 1000))} s` : span(ms));

/** The time of day to the millisecond. */
export function clock(timestamp) {
  const date = new Date(timestamp);
  if (Number.isNaN(date.getTime())) return '';
  const two = (n) => String(n).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** The end of an id: ids made in one second share their beginning. */
export const tail = (id, length = 8) => (String(id ?? '').length > length ? `…${String(id).slice(-length)}` : String(id ?? ''));

/** The service that an event's source names: "payment-service" and "PaymentService" are both payment. */
export const serviceOf = (source) => String(source ?? '').replace(/[-_. ]?service$/i, '').toLowerCase();

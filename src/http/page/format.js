// Formats figures for display. Times are milliseconds since 1970.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Formats a span of time in its two largest units: `3 d 4 h`, `12 min`, `8 s`. No unit is on another line than its number. */
export function span(ms) {
  if (!Number.isFinite(ms)) return '–';
  const rest = Math.max(0, ms);
  if (rest < 1000) return `${Math.round(rest)}\u00a0ms`;
  if (rest < MINUTE) return `${Math.floor(rest / 1000)}\u00a0s`;
  if (rest < 10 * MINUTE) return two(rest, MINUTE, 'min', 1000, 's');
  if (rest < HOUR) return `${Math.floor(rest / MINUTE)}\u00a0min`;
  if (rest < DAY) return two(rest, HOUR, 'h', MINUTE, 'min');
  return two(rest, DAY, 'd', HOUR, 'h');
}

function two(ms, large, largeName, small, smallName) {
  const [whole, left] = [Math.floor(ms / large), Math.floor((ms % large) / small)];
  return left === 0 ? `${whole}\u00a0${largeName}` : `${whole}\u00a0${largeName} ${left}\u00a0${smallName}`;
}

/** Formats the time since then. */
export const ago = (then, now) => (then ? span(Math.max(0, Math.floor((now - then) / 1000) * 1000)).replace('0\u00a0ms', '0\u00a0s') : '–');

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
/** Formats a count with separated thousands. */
export const count = (n) => (n === null || n === undefined ? '–' : grouped.format(n));

/** Formats a rate or another small figure with three digits. */
export function short(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  return n >= 100 ? grouped.format(n) : String(Number(n.toFixed(n >= 10 ? 1 : 2)));
}

/** Formats a measured duration: microseconds to seconds. */
export function latency(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–';
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

export function bytes(n) {
  if (n === null || n === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let rest = n;
  while (rest >= 1024 && at < units.length - 1) [rest, at] = [rest / 1024, at + 1];
  return `${at === 0 || rest >= 100 ? Math.round(rest) : rest.toFixed(1)} ${units[at]}`;
}

const zoned = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' });
/** Returns the short name of the reader's time zone at that time: UTC, CET, GMT+2. */
export const zone = (ms = Date.now()) => zoned.formatToParts(new Date(ms)).find((part) => part.type === 'timeZoneName').value;

/** Formats a time in the reader's zone, without the zone: today's as a time, others with the date. */
export function clock(ms) {
  if (!ms) return '–';
  const then = new Date(ms);
  const time = then.toLocaleTimeString('en-GB');
  return then.toDateString() === new Date().toDateString() ? time : `${isoDay(then)} ${time}`;
}

/** Formats a time with its zone. */
export const moment = (ms) => (ms ? `${clock(ms)} ${zone(ms)}` : '–');

/** Formats a time with its milliseconds and its zone. */
export const instant = (ms) => `${clock(ms)}.${String(Math.floor(ms % 1000)).padStart(3, '0')} ${zone(ms)}`;

/** Formats a day: 2027-03-01. */
export const isoDay = (date) => {
  const then = new Date(date);
  const two = (n) => String(n).padStart(2, '0');
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`;
};

/** Formats a rate per second. */
export const perSecond = (n) => (n === null || n === undefined ? '–' : `${short(n)}/s`);

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Length from which a name of a channel is shortened in lists. */
const LONG = 64;
/** Returns a name for a list: of a very long one the beginning and the end, which distinguish it. */
export const shortName = (name) => (name.length <= LONG ? name : `${name.slice(0, 40)}…${name.slice(-20)}`);

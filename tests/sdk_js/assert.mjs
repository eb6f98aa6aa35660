// The few assertions that walks use, for browsers as well.

function equals(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && equals(a[key], b[key]));
}

function check(fine, message, actual, expected) {
  if (!fine) throw new Error(`${message ?? ""} got ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
}

export const assert = {
  ok: (value, message) => check(value, message, value, true),
  equal: (actual, expected, message) => check(Object.is(actual, expected), message, actual, expected),
  notEqual: (actual, other, message) => check(!Object.is(actual, other), message, actual, `not ${other}`),
  deepEqual: (actual, expected, message) => check(equals(actual, expected), message, actual, expected),
  rejects: (promise, message) =>
    promise.then(
      (value) => check(false, message, value, "a refusal"),
      () => {},
    ),
};

// What OHIF uses of later years than the oldest browsers it is to run in have: Chrome and Edge 90, Firefox 88, Safari 14.
(() => {
  const add = (on, given) => Object.entries(given).forEach(([name, value]) => {
    if (!on[name]) Object.defineProperty(on, name, {value, writable: true, configurable: true});
  });
  const typed = Object.getPrototypeOf(Uint8Array.prototype);
  const at = function (index) {
    const place = Math.trunc(index) || 0;
    return this[place < 0 ? this.length + place : place];
  };
  const findLastIndex = function (fits, own) {
    for (let place = this.length - 1; place >= 0; place -= 1) if (fits.call(own, this[place], place, this)) return place;
    return -1;
  };
  const findLast = function (fits, own) { return this[findLastIndex.call(this, fits, own)]; };
  add(String.prototype, {at});
  add(typed, {at, findLast, findLastIndex,
    toSorted(order) { return this.slice().sort(order); },
    toReversed() { return this.slice().reverse(); }});
  add(Array.prototype, {at, findLast, findLastIndex,
    toSorted(order) { return [...this].sort(order); },
    toReversed() { return [...this].reverse(); }});
  add(Object, {hasOwn: (one, name) => Object.prototype.hasOwnProperty.call(one, name)});
  add(crypto, {randomUUID() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64; // version 4 (RFC 9562 section 5.4)
    bytes[8] = (bytes[8] & 63) | 128;
    const text = [...bytes].map((one) => one.toString(16).padStart(2, '0')).join('');
    return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  }});

  // Values that have no functions: what a viewer keeps of measurements, settings and layouts.
  const copied = (one, seen) => {
    if (typeof one === 'function') throw new DOMException('A function cannot be copied.', 'DataCloneError');
    if (typeof one !== 'object' || one === null) return one;
    if (seen.has(one)) return seen.get(one);
    const kept = (made) => { seen.set(one, made); return made; };
    if (one instanceof Date) return kept(new Date(one.getTime()));
    if (one instanceof RegExp) return kept(new RegExp(one.source, one.flags));
    if (one instanceof ArrayBuffer) return kept(one.slice(0));
    if (one instanceof DataView) return kept(new DataView(copied(one.buffer, seen), one.byteOffset, one.byteLength));
    if (ArrayBuffer.isView(one)) return kept(new one.constructor(copied(one.buffer, seen), one.byteOffset, one.length));
    if (one instanceof Map) {
      const made = kept(new Map());
      one.forEach((value, name) => made.set(copied(name, seen), copied(value, seen)));
      return made;
    }
    if (one instanceof Set) {
      const made = kept(new Set());
      one.forEach((value) => made.add(copied(value, seen)));
      return made;
    }
    const made = kept(Array.isArray(one) ? new Array(one.length) : {});
    Object.keys(one).forEach((name) => { made[name] = copied(one[name], seen); });
    return made;
  };
  add(self, {structuredClone: (one) => copied(one, new Map())});
})();

// What arrived and waits to be looked at, in order.

/** Every wait ends here; a healthy node needs a small part of it. */
export const DEADLINE_MS = 30_000;

export class Mailbox {
  #items = [];
  #waiting = [];

  constructor(what) {
    this.what = what;
  }

  get size() {
    return this.#items.length;
  }

  put(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  /** The next item. */
  next() {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return within(`no ${this.what}`, (resolve) => this.#waiting.push(resolve));
  }

  /** So many items. */
  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }
}

/** A promise that fails with `what` at the deadline. */
export function within(what, begin) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(what)), DEADLINE_MS);
    const done = (value) => {
      clearTimeout(timer);
      resolve(value);
    };
    begin(done, reject);
  });
}

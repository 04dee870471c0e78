// What survives a reload: name and language in this browser, unsent messages in this tab. Without storage the
// page works, too.

const kept = (storage, key) => {
  try {
    return globalThis[storage].getItem(`vang.${key}`);
  } catch {
    return null;
  }
};

const keep = (storage, key, value) => {
  try {
    if (value === null) globalThis[storage].removeItem(`vang.${key}`);
    else globalThis[storage].setItem(`vang.${key}`, value);
  } catch {
    // Full or forbidden: then it does not survive the reload.
  }
};

export const store = {
  name: () => kept("localStorage", "name"),
  keepName: (name) => keep("localStorage", "name", name),
  language() {
    const language = kept("localStorage", "language");
    return language === "en" || language === "vi" ? language : null;
  },
  keepLanguage: (language) => keep("localStorage", "language", language),
  /** Sent again with the same ids, so that none of them is posted twice. */
  unsent() {
    try {
      return JSON.parse(kept("sessionStorage", "unsent")) ?? [];
    } catch {
      return [];
    }
  },
  keepUnsent(pending) {
    keep("sessionStorage", "unsent", pending.length ? JSON.stringify(pending) : null);
  },
};

// Times and sizes in a language, in the reader's time zone.

const made = {};

/** The formats of a language, cached because making them is slow. */
export function writer(language) {
  return (made[language] ??= make(language));
}

function make(language) {
  const format = (options) => new Intl.DateTimeFormat(language, options);
  const [time, day, full] = [
    format({ hour: "2-digit", minute: "2-digit" }),
    format({ weekday: "long", day: "numeric", month: "long", year: "numeric" }),
    format({ dateStyle: "full", timeStyle: "medium" }),
  ];
  const bytes = (unit, digits) => new Intl.NumberFormat(language, { style: "unit", unit, maximumFractionDigits: digits, unitDisplay: unit === "byte" ? "long" : "short" });
  const sizes = [bytes("byte", 0), bytes("kilobyte", 1), bytes("megabyte", 1)];
  return {
    time: (at) => time.format(new Date(at)),
    day: (at) => day.format(new Date(at)),
    full: (at) => full.format(new Date(at)),
    dayKey: (at) => new Date(at).toDateString(),
    size(count) {
      const power = count < 1_000 ? 0 : count < 1_000_000 ? 1 : 2;
      return sizes[power].format(count / 1_000 ** power);
    },
  };
}

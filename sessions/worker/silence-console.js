// Imported before everything else: libsignal prints session records, private keys included, on the
// console (`console.info("Closing session:", session)`), and the worker's stdout is a file that
// people mail around. Our own log writes to the descriptor and does not pass here.

const silent = () => {};

for (const [name, member] of Object.entries(console)) {
  if (typeof member === 'function') Reflect.set(console, name, silent);
}

// The entry. The rest is imported only after the console is silent, whatever order a tool may give
// to static imports.
import './silence-console.js';

import('./worker.js').then(({ run }) => run());

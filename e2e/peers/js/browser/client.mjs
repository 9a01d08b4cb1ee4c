// What a page that uses the published client would import. Bundled by site.mjs.

import { PondClient } from '@eleven-am/pondsocket-client';

window.PondClient = PondClient;

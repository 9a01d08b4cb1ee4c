// What a page that uses the published client would import. Bundled by site.mjs.

import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';

Object.assign(window, { PondClient, SSEClient });

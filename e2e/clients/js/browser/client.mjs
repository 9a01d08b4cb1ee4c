// The imports of a page that uses the published client. Bundled by site.mjs.

import { PondClient, SSEClient } from '@eleven-am/pondsocket-client';

Object.assign(window, { PondClient, SSEClient });

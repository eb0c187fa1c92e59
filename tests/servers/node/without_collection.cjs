// Azurite looks for unused extents every ten minutes, and answers nothing meanwhile: for half a
// minute after many overwrites. A test run is too short to need that.
const { join } = require("node:path");

require(join(process.env.AZURITE, "dist/src/blob/utils/constants.js")).DEFAULT_GC_INTERVAL_MS = 2 ** 31 - 1;

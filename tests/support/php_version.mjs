/* Reads the plug-in for WordPress with a PHP of its own (npm's @php-wasm), and runs what of it needs no
   WordPress: `node php_version.mjs PACKAGES VERSION PLUGIN`. */

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, version, plugin] = process.argv.slice(2);
const require = createRequire(join(packages, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));

const { PHP, loadPHPRuntime } = await load("@php-wasm/universal");
const { getPHPLoaderModule } = await load(`@php-wasm/node-${version.replace(".", "-")}`);
const php = new PHP(await loadPHPRuntime(await getPHPLoaderModule()));

// What the plug-in calls of WordPress while it is loaded.
const WORDPRESS = `<?php
define( 'ABSPATH', '/' );
define( 'DAY_IN_SECONDS', 86400 );
function add_action() {}
function add_filter() {}
function register_activation_hook() {}
function register_deactivation_hook() {}
function plugin_basename() {}
function is_admin() { return true; }
function get_option( $name, $default = false ) { return $default; }
`;
const RUN = `<?php
error_reporting( -1 );
ini_set( 'display_errors', '1' );
require '/wordpress.php';
require '/plugin/stop-press.php';
echo json_encode( array(
  PHP_VERSION,
  StopPress\\clean_audience( 'world, sport,<b>,world' ),
  StopPress\\clean_audience( array( 'world', '*', array() ) ),
  StopPress\\shortened( 'Ferry aground again', 15 ),
  StopPress\\api_audience( 'world,sport' ),
  StopPress\\settings()['roles'],
  StopPress\\no_alert( 7 )['post'],
) );
`;

for (const folder of ["/plugin", "/plugin/includes"]) php.mkdir(folder);
for (const name of readdirSync(plugin, { recursive: true })) {
  if (name.endsWith(".php")) php.writeFile(`/plugin/${name}`, readFileSync(join(plugin, name)));
}
php.writeFile("/wordpress.php", WORDPRESS);
const { text, errors } = await php.run({ code: RUN });
console.log(text, errors);
process.exit(0);

"""A real WordPress with our plug-in: Debian's, with a MariaDB of its own.

Everything is in one folder that goes away. `WP_HTTP_BLOCK_EXTERNAL` keeps WordPress on loopback.
Its events run when a test says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.browser.programs import MissingProgramError
from workers.trials.processes import free_port, listens, wait_for

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "web" / "integrations" / "wordpress"
PASSWORD = "a password of an editor"
REMEDY = (
    "apt-get install php-cli php-mysql mariadb-server-core libjs-underscore; make .venv/wordpress"
)
# Unpacked only: to install the package would bring a web server.
_DEBIAN = ROOT / ".venv" / "wordpress" / "usr" / "share" / "wordpress"

# Written as PHP. The salts are any; the address of the site is wherever the server is.
_CONFIG = """<?php
define( 'DB_NAME', 'wordpress' );
define( 'DB_USER', 'root' );
define( 'DB_PASSWORD', '' );
define( 'DB_HOST', 'localhost:{socket}' );
define( 'DB_CHARSET', 'utf8mb4' );
define( 'AUTH_SALT', 'salt' );
define( 'SECURE_AUTH_SALT', 'salt' );
define( 'LOGGED_IN_SALT', 'salt' );
define( 'NONCE_SALT', 'salt' );
define( 'WP_HTTP_BLOCK_EXTERNAL', true );
define( 'WP_ACCESSIBLE_HOSTS', 'localhost,127.0.0.1' );
define( 'DISABLE_WP_CRON', true );
define( 'AUTOMATIC_UPDATER_DISABLED', true );
define( 'WP_DEBUG', true );
define( 'WP_DEBUG_DISPLAY', false );
define( 'WP_DEBUG_LOG', '{log}' );
$table_prefix = 'wp_';
if ( ! defined( 'ABSPATH' ) ) {{
	define( 'ABSPATH', __DIR__ . '/' );
}}
require_once ABSPATH . 'wp-settings.php';
"""

# Sends no mail, and asks nobody for translations.
_INSTALL = """
$_SERVER['HTTP_HOST'] = '127.0.0.1:9';
define( 'WP_INSTALLING', true );
function wp_new_blog_notification() {}
require 'wp-load.php';
require 'wp-admin/includes/upgrade.php';
wp_install( 'The Daily Example', 'admin', 'admin@paper.example', true, '', '%s' );
update_option( 'permalink_structure', '/%%postname%%/' );
switch_theme( 'plain' );
require_once 'wp-admin/includes/plugin.php';
$failed = activate_plugin( 'stop-press/stop-press.php' );
if ( is_wp_error( $failed ) ) {
	throw new Exception( $failed->get_error_message() );
}
"""

# What a test runs: with all that pages of the administration have, as nobody or as a user.
_RUN = """
define( 'WP_ADMIN', true );
$_SERVER['HTTP_HOST'] = '%s';
require 'wp-load.php';
require_once 'wp-admin/includes/admin.php';
function run() {
%s
}
echo "\\x1e" . wp_json_encode( run() );
"""

# What is left over from another test: posts, and what the plug-in has noted.
_RESET = """
global $wpdb;
foreach ( array( 'posts', 'postmeta', 'term_relationships' ) as $table ) {
	$wpdb->query( "DELETE FROM {$wpdb->$table}" );
}
$named = "option_name LIKE '%%stop_press%%' OR option_name = 'cron'";
$wpdb->query( "DELETE FROM {$wpdb->options} WHERE $named" );
delete_metadata( 'user', 0, '_stop_press_troubles', '', true );
wp_cache_flush();
update_option( 'siteurl', %s );
update_option( 'home', %s );
update_option( 'stop_press_token', %s );
update_option( 'stop_press', %s );
"""

_THEME = """<!doctype html>
<html <?php language_attributes(); ?>>
<head><?php wp_head(); ?></head>
<body>
<?php
while ( have_posts() ) {
	the_post();
	the_title( '<h1>', '</h1>' );
	the_content();
}
wp_footer();
?>
</body>
</html>
"""

# Answers what is a file as a file, and hands all else to WordPress, as a web server does.
_ROUTER = """<?php
$path = $_SERVER['DOCUMENT_ROOT'] . parse_url( $_SERVER['REQUEST_URI'], PHP_URL_PATH );
$is_front = $path === $_SERVER['DOCUMENT_ROOT'] . '/';
if ( is_file( $path ) || is_file( $path . '/index.php' ) && ! $is_front ) {
	return false;
}
$_SERVER['SCRIPT_NAME'] = '/index.php';
require $_SERVER['DOCUMENT_ROOT'] . '/index.php';
"""


def php(value: object) -> str:
    """Write a value of JSON as PHP."""
    text = json.dumps(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"json_decode( '{text}', true )"


class WordPress:
    """A WordPress without visitors; a context manager. `serve` lets browsers in."""

    def __init__(self) -> None:
        missing = [name for name in ("php", "mariadbd") if not _program(name)]
        if missing or not _DEBIAN.exists():
            raise MissingProgramError(f"no {' or '.join(missing) or 'wordpress'}: {REMEDY}")
        self._resources = ExitStack()
        self._served = ExitStack()
        self._be_at(free_port())

    def __enter__(self) -> WordPress:
        with self._resources:
            folder = tempfile.TemporaryDirectory(prefix="wordpress-")
            self._folder = Path(self._resources.enter_context(folder))
            self.root = self._folder / "site"
            self.log = self._folder / "debug.log"
            self._start_database()
            self._copy()
            self._php(_INSTALL % PASSWORD)
            self._kept = self._resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._served.close()
        self._kept.close()

    def _start_database(self) -> None:
        data, socket = self._folder / "data", self._folder / "mysql.sock"
        data.mkdir()
        root = ["--user=root"] if os.getuid() == 0 else []
        # It knows no users, which would take three seconds to set up, and keeps nothing safe.
        options = ["--skip-grant-tables", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"]
        small = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"]
        place = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={self._folder / 'pid'}"]
        argv = [_program("mariadbd"), "--no-defaults", *root, *options, *small, *place]
        log = self._resources.enter_context((self._folder / "mariadb.log").open("wb"))
        argv = [*map(str, argv), "--skip-networking"]
        process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._resources.callback(process.wait)
        self._resources.callback(process.kill)
        create = "mysqli_query( mysqli_connect( null, 'root', '', null, null, %s ), %s )"
        wait_for(socket.exists, process)
        self._do(["php", "-r", create % (php(str(socket)), "'CREATE DATABASE wordpress'") + ";"])

    def _copy(self) -> None:
        """Copy WordPress, whose files find each other by where they are, and link our plug-in."""
        unneeded = shutil.ignore_patterns(
            ".htaccess", "certificates", "wp-content", "wp-config.php"
        )
        shutil.copytree(_DEBIAN, self.root, ignore=unneeded, ignore_dangling_symlinks=True)
        content, theme = self.root / "wp-content", self.root / "wp-content" / "themes" / "plain"
        (content / "plugins").mkdir(parents=True)
        (content / "plugins" / "stop-press").symlink_to(PLUGIN)
        theme.mkdir(parents=True)
        (theme / "style.css").write_text("/* Theme Name: Plain */")
        (theme / "functions.php").write_text("<?php add_theme_support( 'title-tag' );")
        (theme / "index.php").write_text(_THEME)
        socket = self._folder / "mysql.sock"
        (self.root / "wp-config.php").write_text(_CONFIG.format(socket=socket, log=self.log))
        (self._folder / "router.php").write_text(_ROUTER)

    def _do(self, argv: list[str]) -> str:
        done = subprocess.run(argv, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _php(self, code: str) -> str:
        """Run PHP in the site's folder; what it complains of is a failure."""
        argv = ["php", *_CACHE, f"-dopcache.file_cache={self._folder}", "-derror_reporting=-1"]
        done = subprocess.run(
            [*argv, "-ddisplay_errors=stderr", "-r", code],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def run(self, code: str) -> Any:
        """Run the body of a PHP function within WordPress; return what it returns."""
        said, _, found = self._php(_RUN % (self.origin[7:], code)).rpartition("\x1e")
        assert said == ""
        assert self.complaints() == []
        return json.loads(found)

    def reset(self, address: str, token: str, **settings: object) -> None:
        """Begin anew: no posts, and the plug-in set up for a Stop Press."""
        given = {"address": address, "home": self.origin, **settings}
        self.run(_RESET % (*[php(self.origin)] * 2, php(token), php(given)))

    def complaints(self) -> list[str]:
        """Return what PHP said of our plug-in; of WordPress itself, a newer PHP says a lot."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if str(PLUGIN) in line or "Fatal" in line]

    def serve(self) -> None:
        """Let browsers in, at an origin that they have not seen; `reset` has to follow."""
        self._served.close()
        self._be_at(free_port())
        log = self._served.enter_context((self._folder / "php.log").open("wb"))
        argv = ["php", *_CACHE, "-S", f"127.0.0.1:{self.port}", "-t", str(self.root)]
        process = subprocess.Popen(
            [*argv, str(self._folder / "router.php")],
            cwd=self.root,
            env={**os.environ, "PHP_CLI_SERVER_WORKERS": "4"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._served.callback(process.wait)
        self._served.callback(os.killpg, process.pid, signal.SIGKILL)
        wait_for(lambda: listens(self.port), process)

    def _be_at(self, port: int) -> None:
        self.port, self.origin = port, f"http://127.0.0.1:{port}"


# PHP compiles half of WordPress anew in each process otherwise.
_CACHE = ("-dopcache.enable_cli=1", "-dmemory_limit=256M")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")

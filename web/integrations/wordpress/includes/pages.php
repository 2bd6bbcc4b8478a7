<?php
/**
 * What readers' browsers get: our two pieces, which docs/site.md explains.
 *
 * The worker has a scope of its own (`/stop-press/`), so that it never meets another plug-in's. Where
 * the web server hands no paths to WordPress (plain permalinks), its address is a query and its scope
 * another one: a subscription moves from one scope to the other on the reader's next visit.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

add_action( 'plugins_loaded', __NAMESPACE__ . '\serve_worker', 0 );
add_action( 'wp_head', __NAMESPACE__ . '\print_script', 1 );

const WORKER_QUERY = 'stop-press-worker';

/** Whether every path of the site reaches WordPress. */
function has_paths(): bool {
	$structure = (string) get_option( 'permalink_structure' );
	return '' !== $structure && false === strpos( $structure, '/index.php' );
}

/** Return the address of the worker's file, on this site. */
function worker_address(): string {
	return has_paths() ? home_url( '/stop-press/sw.js' ) : home_url( '/?' . WORKER_QUERY . '=1' );
}

/** Return one of our two pieces, with the address of Stop Press. */
function piece( string $name ): string {
	$text = file_get_contents( __DIR__ . '/../lines/' . $name ); // phpcs:ignore WordPress.WP.AlternativeFunctions -- a file of ours.
	return str_replace( 'https://push.example', settings()['address'], $text );
}

/** Answer the request for the worker's file, before other plug-ins redirect it. */
function serve_worker() {
	$path  = wp_parse_url( isset( $_SERVER['REQUEST_URI'] ) ? wp_unslash( $_SERVER['REQUEST_URI'] ) : '', PHP_URL_PATH ); // phpcs:ignore WordPress.Security.ValidatedSanitizedInput -- compared only.
	$ours  = wp_parse_url( home_url( '/stop-press/sw.js' ), PHP_URL_PATH );
	$asked = $path === $ours || isset( $_GET[ WORKER_QUERY ] ); // phpcs:ignore WordPress.Security.NonceVerification -- reads only.
	if ( ! $asked || '' === settings()['address'] ) {
		return;
	}
	defined( 'DONOTCACHEPAGE' ) || define( 'DONOTCACHEPAGE', true );
	header( 'Content-Type: text/javascript; charset=utf-8' );
	header( 'Cache-Control: no-cache' );
	header( 'Service-Worker-Allowed: ' . home_path() );
	header( 'X-Content-Type-Options: nosniff' );
	echo piece( 'sw.js' ); // phpcs:ignore WordPress.Security.EscapeOutput -- a script of ours; the address was checked.
	exit;
}

/** Return the path of the site's front page: `/`, or `/blog/`. */
function home_path(): string {
	return trailingslashit( (string) wp_parse_url( home_url(), PHP_URL_PATH ) );
}

/** Print our script, on pages that readers see. */
function print_script() {
	$is_amp = function_exists( 'amp_is_request' ) && amp_is_request();
	if ( '' === settings()['address'] || $is_amp || is_preview() || is_customize_preview() ) {
		return;
	}
	$attributes = array(
		'data-worker'      => worker_address(),
		'data-scope'       => home_path() . ( has_paths() ? 'stop-press/' : 'stop-press-alerts/' ),
		'data-topic'       => topic_of_page(),
		// Optimisers are to leave it alone.
		'data-cfasync'     => 'false',
		'data-no-optimize' => '1',
		'nowprocket'       => true,
	);
	/**
	 * Filters the attributes of our script, such as `data-ask` or `data-bell` (docs/site.md).
	 *
	 * @param array $attributes By name.
	 */
	$attributes = apply_filters( 'stop_press_attributes', array_filter( $attributes ) );
	wp_print_inline_script_tag( piece( 'page.js' ), $attributes );
}

/** Return the topic that is ticked when the question opens on this page, or ''. */
function topic_of_page(): string {
	$audience = '';
	if ( is_singular() ) {
		$audience = audience_of_categories( (int) get_queried_object_id() );
	} elseif ( is_category() ) {
		$audience = settings()['topics'][ get_queried_object_id() ] ?? '';
	}
	return '*' === $audience ? '' : explode( ',', $audience )[0];
}

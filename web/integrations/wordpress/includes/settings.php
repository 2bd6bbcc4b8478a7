<?php
/**
 * The settings, and what they say about a site, a user or a post.
 *
 * An audience is a text here: '*' is everyone, 'world,sport' are topics, '' is nobody.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

const DEFAULTS = array(
	'address'    => '',                                          // of Stop Press: its SITE_URL.
	'home'       => '',                                          // this site's address when the settings were saved.
	'post_types' => array( 'post' ),
	'roles'      => array( 'administrator', 'editor', 'author' ), // who sees the box.
	'topics'     => array(),                                     // audiences by category (term id).
	'otherwise'  => '',                                          // the audience of posts whose categories have none.
	'automatic'  => array(),                                     // categories (term ids) whose posts are alerted by themselves.
);

/** Return the settings, with defaults for what was never set. */
function settings(): array {
	$stored = get_option( 'stop_press', array() );
	return array_merge( DEFAULTS, is_array( $stored ) ? $stored : array() );
}

/** Return the API token, or ''. */
function token(): string {
	return (string) get_option( 'stop_press_token', '' );
}

/** Say why nothing can be sent to Stop Press; '' if it can. */
function not_ready(): string {
	$settings = settings();
	if ( '' === $settings['address'] || '' === token() ) {
		return __( 'Stop Press is not set up: enter its address and a token under Settings → Stop Press.', 'stop-press' );
	}
	if ( untrailingslashit( home_url() ) !== $settings['home'] ) {
		// A copy for tests must not alert the readers of the real site.
		/* translators: 1: the site's address now, 2: its address before. */
		$words = __( 'This site is at %1$s, but Stop Press was set up for %2$s. If this is not a copy of that site, save the settings once under Settings → Stop Press.', 'stop-press' );
		return sprintf( $words, home_url(), $settings['home'] );
	}
	return '';
}

/** Whether posts of this type can have alerts. */
function has_alerts( string $post_type ): bool {
	return in_array( $post_type, settings()['post_types'], true );
}

/** Whether the current user may decide about the alert of a post. */
function may_alert( int $post_id ): bool {
	$roles = array_intersect( wp_get_current_user()->roles, settings()['roles'] );
	return current_user_can( 'edit_post', $post_id ) && ( $roles || current_user_can( 'manage_options' ) );
}

/** Return the audience that a post's categories have. */
function audience_of_categories( int $post_id ): string {
	$settings  = settings();
	$audiences = array();
	foreach ( category_ids( $post_id ) as $id ) {
		$audiences[] = $settings['topics'][ $id ] ?? '';
	}
	$audiences = array_unique( array_filter( $audiences ) );
	if ( in_array( '*', $audiences, true ) ) {
		return '*';
	}
	return $audiences ? implode( ',', $audiences ) : $settings['otherwise'];
}

/** Return the ids of a post's categories. */
function category_ids( int $post_id ): array {
	$terms = get_the_terms( $post_id, 'category' );
	return is_array( $terms ) ? wp_list_pluck( $terms, 'term_id' ) : array();
}

/** Bring an audience into its usual form, without what is no topic's slug. */
function clean_audience( $audience ): string {
	$slugs = is_array( $audience ) ? $audience : explode( ',', (string) $audience );
	$slugs = array_map( 'trim', array_filter( $slugs, 'is_string' ) );
	if ( in_array( '*', $slugs, true ) ) {
		return '*';
	}
	return implode( ',', array_unique( preg_grep( '/^[a-z0-9][a-z0-9-]{0,39}$/', $slugs ) ) );
}

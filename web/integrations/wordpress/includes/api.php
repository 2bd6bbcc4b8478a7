<?php
/**
 * Calls of the API of Stop Press. The token leaves this server for no other address.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

const WAIT_SECONDS  = 5;  // for an answer about an alert; a post is published without it.
const GLANCE_SECONDS = 2; // for what only an editor's page shows.

/**
 * Call the API.
 *
 * Returns its `status` (0 if no answer came), `body`, the `message` for people, and whether the same
 * call may succeed `later`.
 */
function call( string $method, string $path, ?array $body = null, int $seconds = WAIT_SECONDS ): array {
	if ( '' !== not_ready() ) {
		return array( 'later' => false ) + answer( 0, array(), not_ready() );
	}
	if ( get_transient( 'stop_press_down' ) ) {
		// Ten posts that are published together must not wait for it ten times.
		return answer( 0, array(), __( 'Stop Press did not answer a moment ago.', 'stop-press' ) );
	}
	$asked = array(
		'method'      => $method,
		'timeout'     => $seconds,
		'redirection' => 0,
		'headers'     => array(
			'Authorization' => 'Bearer ' . token(),
			'Accept'        => 'application/json',
		),
	);
	if ( null !== $body ) {
		$asked['headers']['Content-Type'] = 'application/json';
		$asked['body']                    = wp_json_encode( (object) $body );
	}
	$response = wp_remote_request( settings()['address'] . '/api/v1' . $path, $asked );
	if ( is_wp_error( $response ) ) {
		set_transient( 'stop_press_down', 1, 20 );
		/* translators: %s: a program's words for what went wrong. */
		$words = __( 'Stop Press did not answer: %s', 'stop-press' );
		return answer( 0, array(), sprintf( $words, $response->get_error_message() ) );
	}
	$status = (int) wp_remote_retrieve_response_code( $response );
	$found  = json_decode( wp_remote_retrieve_body( $response ), true );
	return answer( $status, is_array( $found ) ? $found : array() );
}

/** Return an answer as `call` does. */
function answer( int $status, array $body, string $message = '' ): array {
	if ( '' === $message && ( $status < 200 || $status > 299 ) ) {
		/* translators: %d: the status of an HTTP response. */
		$other   = sprintf( __( 'Stop Press answered with the status %d. Is its address right?', 'stop-press' ), $status );
		$message = isset( $body['detail'] ) && is_string( $body['detail'] ) ? $body['detail'] : $other;
	}
	return array(
		'status'  => $status,
		'body'    => $body,
		'message' => $message,
		'later'   => 0 === $status || 429 === $status || $status >= 500,
	);
}

/** Return what an audience is to the API, or null for none. */
function api_audience( string $audience ): ?array {
	if ( '*' === $audience ) {
		return array( 'everyone' => true );
	}
	return '' === $audience ? null : array( 'topics' => explode( ',', $audience ) );
}

/** Return how many browsers an audience has, as of the last minute, or null if that is not known. */
function reach( string $audience ): ?int {
	$asked = api_audience( $audience );
	$name  = 'stop_press_reach_' . md5( $audience );
	$kept  = get_transient( $name );
	if ( null === $asked || false !== $kept ) {
		return null === $asked ? 0 : (int) $kept;
	}
	$answer = call( 'POST', '/audience', $asked, GLANCE_SECONDS );
	if ( 200 !== $answer['status'] ) {
		return null;
	}
	set_transient( $name, (int) $answer['body']['recipients'], MINUTE_IN_SECONDS );
	return (int) $answer['body']['recipients'];
}

/** Return the names of all topics by their slugs: those of the last five minutes, or the last that came. */
function topics( bool $now = false ): array {
	$kept = get_option( 'stop_press_topics', array() );
	if ( ! $now && time() - ( $kept['at'] ?? 0 ) < 5 * MINUTE_IN_SECONDS ) {
		return $kept['names'];
	}
	$answer = '' === token() ? answer( 0, array() ) : call( 'GET', '/topics', null, GLANCE_SECONDS );
	if ( 200 !== $answer['status'] ) {
		return $kept['names'] ?? array();
	}
	$names = wp_list_pluck( $answer['body']['topics'], 'name', 'slug' );
	update_option(
		'stop_press_topics',
		array(
			'at'    => time(),
			'names' => $names,
		),
		false
	);
	return $names;
}

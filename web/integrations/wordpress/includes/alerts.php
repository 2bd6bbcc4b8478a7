<?php
/**
 * One alert for a post, once: when it becomes public, or planned for when it will.
 *
 * `settle` compares what a post should have with what Stop Press was told. It runs after each change
 * of a post, when its fields and categories are stored (`wp_after_insert_post`), and again while Stop
 * Press does not answer. The `status` in `_stop_press_state` is one of
 *
 *   ''           no alert was asked for
 *   planned      Stop Press has it and has not begun: for its time, an approval, or a stop of everything
 *   sent         it went out; the post gets no other one, whatever becomes of it
 *   withdrawn    an editor deleted it at Stop Press; the post gets no other one
 *   waiting      no answer came: it is handed over again each minute, for ten minutes
 *   withdrawing  no answer came: it is withdrawn again each minute, until it would be sent
 *   failed       it was refused, or the ten minutes are over
 *
 * Every call about a post has the same `reference`. Stop Press takes the second one for a change of
 * what is planned, and refuses it once the alert is sent: a lost answer costs nothing. A withdrawn
 * plan ends its reference, so that the next one has another `round`.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

const STATE         = '_stop_press_state';
const RETRY_SECONDS = 60;
const RETRIED_FOR   = 600;            // seconds; late news is none.
const OLD           = DAY_IN_SECONDS; // a post of yesterday is not alerted because of its category.
const MOST_AN_HOUR  = 10;             // alerts because of categories: a script may publish hundreds of posts.

add_action( 'wp_after_insert_post', __NAMESPACE__ . '\after_insert', 10, 4 );
add_action( 'before_delete_post', __NAMESPACE__ . '\before_delete' );
add_action( 'stop_press_again', __NAMESPACE__ . '\again' );
add_action( 'stop_press_withdraw', __NAMESPACE__ . '\withdraw_of_deleted', 10, 2 );
add_action( 'init', __NAMESPACE__ . '\publish_due', 20 );

/** Bring the alert of a post that was changed into step. */
function after_insert( $post_id, $post, $update, $before ) {
	$post = get_post( $post_id );
	if ( $post && has_alerts( $post->post_type ) && ! ( defined( 'WP_IMPORTING' ) && WP_IMPORTING ) ) {
		settle( $post, ! ( $before && is_public( $before ) ) );
	}
}

/** Whether every reader can open a post. */
function is_public( \WP_Post $post ): bool {
	return 'publish' === $post->post_status && '' === $post->post_password;
}

/** Whether a post should have an alert: as its editor said, else as its categories say. */
function is_wanted( \WP_Post $post, array $state ): bool {
	$said = field( $post->ID, 'alert' );
	if ( '' !== $said ) {
		return '1' === $said;
	}
	$is_bulk = isset( $_REQUEST['bulk_edit'] ); // phpcs:ignore WordPress.Security.NonceVerification -- reads only.
	$is_old  = time() - get_post_timestamp( $post ) > OLD;
	if ( ( $is_bulk || $is_old ) && ! is_with_stop_press( $state ) ) {
		return false;
	}
	return (bool) array_intersect( category_ids( $post->ID ), settings()['automatic'] );
}

/** Return what became of a post's alert. */
function state_of( int $post_id ): array {
	$kept = get_post_meta( $post_id, STATE, true );
	// A plug-in that copies posts copies this too.
	$is_own = is_array( $kept ) && ( $kept['post'] ?? 0 ) === $post_id;
	return $is_own ? array_merge( no_alert( $post_id ), $kept ) : no_alert( $post_id );
}

/** Return the state of a post for which no alert was asked. */
function no_alert( int $post_id, int $round = 1 ): array {
	return array(
		'post'     => $post_id,
		'status'   => '',
		'id'       => '',      // of the alert, at Stop Press.
		'at'       => 0,       // when it is planned for; 0 at once.
		'hash'     => '',      // of the alert as it was handed over last.
		'round'    => $round,
		'since'    => 0,       // the first call without an answer.
		'message'  => '',      // for the editor.
		'warnings' => array(), // what Stop Press said about the text.
		'address'  => '',      // of the Stop Press that has it.
		'token'    => '',      // a digest of the token that made it, to which its reference belongs.
	);
}

/** Store what became of a post's alert. */
function keep( array $state, array $changes ): array {
	$state = array_merge( $state, $changes );
	update_post_meta( $state['post'], STATE, wp_slash( $state ) );
	note_due( $state['post'], is_with_stop_press( $state ) && $state['at'] > time() ? $state['at'] : 0 );
	return $state;
}

/** Return when the planned alerts go out, by post. */
function due(): array {
	return (array) get_option( 'stop_press_due', array() );
}

/** Note when the planned alert of a post goes out; 0: it has none. */
function note_due( int $post_id, int $at ) {
	if ( ( due()[ $post_id ] ?? 0 ) === $at ) {
		return;
	}
	// Another request may have noted another post while this one waited for Stop Press.
	wp_cache_delete( 'alloptions', 'options' );
	wp_cache_delete( 'notoptions', 'options' );
	update_option( 'stop_press_due', array_filter( array( $post_id => $at ) + due() ) );
}

/** Bring the alert of a post into step with the post. */
function settle( \WP_Post $post, bool $becomes_public ): array {
	$state     = state_of( $post->ID );
	$is_public = is_public( $post );
	$is_coming = 'future' === $post->post_status && '' === $post->post_password;
	if ( in_array( $state['status'], array( 'sent', 'withdrawn' ), true ) ) {
		return $state;
	}
	if ( ! ( $is_public || $is_coming ) || ! is_wanted( $post, $state ) ) {
		return is_with_stop_press( $state ) ? withdraw( $post, $state ) : $state;
	}
	if ( $is_coming ) {
		$at = (int) get_post_timestamp( $post );
		return $at ? hand_over( $post, $state, $at ) : $state;
	}
	if ( 'planned' === $state['status'] && $state['at'] <= time() ) {
		if ( $becomes_public ) {
			// Stop Press sends it by itself; look a minute later, and not while a reader waits.
			wp_schedule_single_event( time() + RETRY_SECONDS, 'stop_press_again', array( $post->ID ) );
		}
		return $state;
	}
	if ( 'waiting' === $state['status'] && ! $becomes_public && time() - $state['since'] >= RETRIED_FOR ) {
		return fail( $post, $state, $state['message'] ); // no reader's visit has let WP-Cron run meanwhile.
	}
	// Whatever else is public already was changed only.
	return $becomes_public || 'waiting' === $state['status'] ? hand_over( $post, $state, 0 ) : $state;
}

/** Whether Stop Press has the alert of this state, or may have it. */
function is_with_stop_press( array $state ): bool {
	$is_refused_change = 'failed' === $state['status'] && '' !== $state['id'];
	return $is_refused_change || in_array( $state['status'], array( 'planned', 'waiting', 'withdrawing' ), true );
}

/** Hand the alert of a post over: for now, or `$at` a time. */
function hand_over( \WP_Post $post, array $state, int $at ): array {
	$alert = alert_of( $post );
	if ( $at ) {
		$alert['send_at'] = gmdate( 'Y-m-d\TH:i:s\Z', $at );
	}
	$hash = md5( wp_json_encode( $alert ) );
	if ( 'planned' === $state['status'] && $state['hash'] === $hash ) {
		return $state;
	}
	$refusal = refusal( $post, $state, $alert );
	if ( '' !== $refusal ) {
		return fail( $post, $state, $refusal );
	}
	$is_here = $state['address'] === settings()['address'];
	if ( is_with_stop_press( $state ) && $is_here && $state['token'] !== token_digest() ) {
		// Its reference belongs to another token, with which this call would plan a second alert.
		$state = withdraw( $post, $state );
		if ( '' !== $state['status'] ) {
			return $state;
		}
	}
	$changes = array(
		'at'      => $at,
		'hash'    => $hash,
		'address' => settings()['address'],
		'token'   => token_digest(),
	);
	$alert  += array( 'reference' => reference( $state ) );
	return handed_over( $post, array_merge( $state, $changes ), call( 'POST', '/notifications', $alert ) );
}

/** Keep what Stop Press said to an alert. */
function handed_over( \WP_Post $post, array $state, array $answer ): array {
	if ( $answer['later'] ) {
		return wait( $post, $state, $answer['message'] );
	}
	if ( 202 === $answer['status'] ) {
		$begun   = 'sending' === $answer['body']['status'];
		$changes = array(
			'status'   => $begun ? 'sent' : 'planned',
			'id'       => (string) $answer['body']['id'],
			'since'    => 0,
			'message'  => '',
			'warnings' => wp_list_pluck( $answer['body']['warnings'] ?? array(), 'detail' ),
		);
		return keep( $state, $changes );
	}
	if ( 409 === $answer['status'] && isset( $answer['body']['alert'] ) ) {
		// It was sent before: an answer was lost, or its time came first. Or an editor changes it now.
		$changes = array(
			'id'     => (string) $answer['body']['alert'],
			'status' => 'planned',
		);
		$state   = look( keep( $state, $changes ) )['state'];
		return 'planned' === $state['status'] ? wait( $post, $state, $answer['message'] ) : $state;
	}
	if ( 410 === $answer['status'] ) {
		return keep( $state, array( 'status' => 'withdrawn' ) );
	}
	return fail( $post, $state, $answer['message'] );
}

/** Say why the alert of a post cannot be handed over; '' if it can. */
function refusal( \WP_Post $post, array $state, array $alert ): string {
	if ( null === $alert['audience'] ) {
		return __( 'Nobody would get it: choose topics in the box, or give this post’s categories topics under Settings → Stop Press.', 'stop-press' );
	}
	$is_new = '' === $state['status'] && ! isset( $alert['send_at'] );
	if ( $is_new && '1' !== field( $post->ID, 'alert' ) && ! room_for_automatic() ) {
		/* translators: %d: a number of alerts. */
		return sprintf( __( 'More than %d posts within an hour would have been alerted because of their categories. This one is not, unless you try again.', 'stop-press' ), MOST_AN_HOUR );
	}
	return not_ready();
}

/** Whether one more alert may be sent because of a post's category; count it. */
function room_for_automatic(): bool {
	$times = array_filter(
		(array) get_option( 'stop_press_automatic', array() ),
		function ( $at ) {
			return time() - $at < HOUR_IN_SECONDS;
		}
	);
	if ( count( $times ) >= MOST_AN_HOUR ) {
		return false;
	}
	update_option( 'stop_press_automatic', array_merge( $times, array( time() ) ), false );
	return true;
}

/** Return what Stop Press knows the alert of a post by. */
function reference( array $state ): string {
	$site = get_option( 'stop_press_id' );
	if ( ! $site ) {
		$site = wp_generate_password( 12, false );
		add_option( 'stop_press_id', $site );
	}
	return sprintf( 'wordpress/%s/%d/%d', $site, $state['post'], $state['round'] );
}

/** Return a digest of the token, from which nobody learns it. */
function token_digest(): string {
	return substr( wp_hash( token() ), 0, 12 );
}

/** Try again in a minute, for ten minutes. */
function wait( \WP_Post $post, array $state, string $message ): array {
	$since = $state['since'] ? $state['since'] : time();
	if ( time() - $since >= RETRIED_FOR ) {
		return fail( $post, $state, $message );
	}
	wp_schedule_single_event( time() + RETRY_SECONDS, 'stop_press_again', array( $post->ID ) );
	note_for_editor( $post );
	$changes = array(
		'status'  => 'waiting',
		'since'   => $since,
		'message' => $message,
	);
	return keep( $state, $changes );
}

/** Keep why a post has no alert. */
function fail( \WP_Post $post, array $state, string $message ): array {
	note_for_editor( $post );
	$changes = array(
		'status'  => 'failed',
		'since'   => 0,
		'message' => $message,
	);
	return keep( $state, $changes );
}

/** Let the next page of the administration say what is the matter with a post's alert. */
function note_for_editor( \WP_Post $post ) {
	$user  = get_current_user_id() ? get_current_user_id() : (int) $post->post_author;
	$posts = (array) get_user_meta( $user, '_stop_press_troubles', true );
	update_user_meta( $user, '_stop_press_troubles', array_unique( array_filter( array_merge( $posts, array( $post->ID ) ) ) ) );
}

/** Take back the alert of a post that is no longer to have one. */
function withdraw( \WP_Post $post, array $state ): array {
	if ( '' !== not_ready() ) {
		return fail( $post, $state, not_ready() );
	}
	$id = $state['id'];
	if ( '' === $id ) {
		$answer = as_draft( $post, $state );
		$id     = (string) ( $answer['body']['id'] ?? '' );
	}
	if ( '' !== $id ) {
		$answer = call( 'DELETE', '/notifications/' . $id );
	}
	if ( $answer['later'] ) {
		return withdraw_later( $post, $state, $id, $answer['message'] );
	}
	wp_clear_scheduled_hook( 'stop_press_again', array( $post->ID ) );
	if ( 409 === $answer['status'] ) {
		$changes = array(
			'id'     => (string) ( $answer['body']['alert'] ?? $id ),
			'status' => 'sent',
		);
		return keep( $state, $changes );
	}
	if ( in_array( $answer['status'], array( 401, 403 ), true ) ) {
		return fail( $post, $state, $answer['message'] );
	}
	// 204; or it is not there any more (404, 410), or never was (422).
	return keep( no_alert( $post->ID, $state['round'] + 1 ), array() );
}

/** Ask by its reference for an alert whose id no answer has told: as a draft, which nobody gets. */
function as_draft( \WP_Post $post, array $state ): array {
	$draft = array(
		'draft'     => true,
		'audience'  => array( 'everyone' => true ),
		'reference' => reference( $state ),
	);
	return call( 'POST', '/notifications', $draft + alert_of( $post ) );
}

/** Withdraw it in a minute, as long as it has not been sent. */
function withdraw_later( \WP_Post $post, array $state, string $id, string $message ): array {
	$since = 'withdrawing' === $state['status'] ? $state['since'] : time();
	if ( time() >= max( $since + RETRIED_FOR, $state['at'] ) ) {
		/* translators: %s: what Stop Press said last. */
		$words = __( 'The alert could not be withdrawn: delete it at Stop Press. %s', 'stop-press' );
		return fail( $post, $state, sprintf( $words, $message ) );
	}
	wp_schedule_single_event( time() + RETRY_SECONDS, 'stop_press_again', array( $post->ID ) );
	note_for_editor( $post );
	$changes = array(
		'status'  => 'withdrawing',
		'id'      => $id,
		'since'   => $since,
		'message' => $message,
	);
	return keep( $state, $changes );
}

/** Withdraw the plan of a post that is deleted for good. */
function before_delete( $post_id ) {
	$state = state_of( (int) $post_id );
	$id    = $state['id'];
	if ( is_with_stop_press( $state ) && '' === $id ) {
		$id = (string) ( as_draft( get_post( $post_id ), $state )['body']['id'] ?? '' );
	}
	if ( is_with_stop_press( $state ) && '' !== $id ) {
		withdraw_of_deleted( $id, $state['at'] );
	}
	note_due( (int) $post_id, 0 );
}

/** Delete a planned alert, and do so again each minute until it would be sent. */
function withdraw_of_deleted( $id, $at ) {
	$answer = call( 'DELETE', '/notifications/' . $id );
	if ( $answer['later'] && time() < $at ) {
		wp_schedule_single_event( time() + RETRY_SECONDS, 'stop_press_withdraw', array( $id, $at ) );
	}
}

/** Try again what had no answer, and look what became of a plan: what WP-Cron does. */
function again( $post_id ) {
	$post = get_post( $post_id );
	if ( ! $post ) {
		return;
	}
	$state = state_of( $post->ID );
	if ( 'planned' === $state['status'] ) {
		$seen = look( $state );
		// Nothing ran at Stop Press when its time came; the post is public now.
		if ( ! empty( $seen['alert']['missed'] ) && is_public( $post ) ) {
			hand_over( $post, $seen['state'], 0 );
		}
	} elseif ( 'withdrawing' === $state['status'] ) {
		withdraw( $post, $state );
		settle( $post, false );
	} elseif ( 'waiting' === $state['status'] ) {
		settle( $post, false );
	}
}

/** Hand over at once what failed: the editor has asked for it. */
function try_again( \WP_Post $post ): array {
	delete_transient( 'stop_press_down' );
	$state = state_of( $post->ID );
	if ( 'withdrawing' === $state['status'] ) {
		return withdraw( $post, $state );
	}
	if ( ! in_array( $state['status'], array( 'waiting', 'failed' ), true ) ) {
		return $state;
	}
	$state = array_merge( $state, array( 'since' => 0 ) );
	if ( is_public( $post ) ) {
		return hand_over( $post, $state, 0 );
	}
	return settle( $post, false );
}

/** Ask Stop Press for the alert; return its `state` and, if the answer came, the `alert`. */
function look( array $state ): array {
	$name   = 'stop_press_alert_' . md5( $state['address'] . ' ' . $state['id'] );
	$answer = get_transient( $name );
	if ( ! is_array( $answer ) ) {
		$answer = call( 'GET', '/notifications/' . $state['id'], null, GLANCE_SECONDS );
		if ( $answer['later'] ) {
			return compact( 'state' ) + array( 'alert' => null );
		}
		set_transient( $name, $answer, 5 );
	}
	$alert = 200 === $answer['status'] ? $answer['body'] : null;
	if ( 'planned' === $state['status'] && 404 === $answer['status'] ) {
		$state = keep( $state, array( 'status' => 'withdrawn' ) );
	}
	if ( 'planned' === $state['status'] && $alert && ! in_array( $alert['status'], array( 'draft', 'scheduled' ), true ) ) {
		$state = keep( $state, array( 'status' => 'sent' ) );
	}
	return compact( 'state', 'alert' );
}

/**
 * Publish the posts whose time has come, before the page is chosen.
 *
 * Stop Press sends a planned alert to the second. WordPress publishes the post when a reader asks for
 * a page, and would answer the first reader of the alert that there is no such page.
 */
function publish_due() {
	foreach ( due() as $post_id => $at ) {
		if ( $at <= time() ) {
			note_due( $post_id, 0 );
			check_and_publish_future_post( $post_id );
		}
	}
}

<?php
/**
 * The box in the editor: whether an alert is sent, to which readers, and what became of it.
 *
 * One box serves the block editor and the classic one. In the block editor assets/box.js hands its
 * fields to the editor (see `register_meta`), in the classic one they come with the form.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

add_action( 'add_meta_boxes', __NAMESPACE__ . '\add_box', 10, 2 );
add_action( 'save_post', __NAMESPACE__ . '\save_box' );
add_action( 'admin_enqueue_scripts', __NAMESPACE__ . '\enqueue_box' );
add_action( 'admin_notices', __NAMESPACE__ . '\print_troubles' );
add_action( 'wp_ajax_stop_press_box', __NAMESPACE__ . '\answer_box' );
add_action( 'wp_ajax_stop_press_again', __NAMESPACE__ . '\answer_again' );
add_action( 'admin_post_stop_press_again', __NAMESPACE__ . '\again_without_script' );

/** Add the box for users whose role sees it. */
function add_box( $post_type, $post ) {
	if ( $post instanceof \WP_Post && has_alerts( $post_type ) && may_alert( $post->ID ) ) {
		add_meta_box( 'stop-press', __( 'Stop Press', 'stop-press' ), __NAMESPACE__ . '\print_box', $post_type, 'side', 'high' );
	}
}

/** Load the box's script and style where there is a box. */
function enqueue_box( $page ) {
	if ( ! in_array( $page, array( 'post.php', 'post-new.php' ), true ) || ! has_alerts( (string) get_post_type() ) ) {
		return;
	}
	wp_enqueue_style( 'stop-press', plugins_url( 'assets/admin.css', PLUGIN_FILE ), array(), '1.0.0' );
	$after = get_current_screen()->is_block_editor() ? array( 'wp-editor' ) : array();
	wp_enqueue_script( 'stop-press-box', plugins_url( 'assets/box.js', PLUGIN_FILE ), $after, '1.0.0', true );
}

/** Print the box. */
function print_box( \WP_Post $post ) {
	if ( '' !== not_ready() ) {
		printf( '<p>%s</p>', esc_html( not_ready() ) );
		return;
	}
	wp_nonce_field( 'stop_press_box_' . $post->ID, 'stop_press_nonce', false );
	printf(
		'<div id="stop-press-box" data-post="%d" data-ajax="%s" data-nonce="%s">',
		(int) $post->ID,
		esc_url( admin_url( 'admin-ajax.php' ) ),
		esc_attr( wp_create_nonce( 'stop_press_box_' . $post->ID ) )
	);
	echo '<div class="stop-press-state" aria-live="polite">';
	print_state( $post, state_of( $post->ID ) ); // the box's script asks: this page does not wait for it.
	echo '</div>';
	printf( '<div class="stop-press-fields" %s>', is_decided( $post ) ? 'hidden' : '' );
	print_fields( $post );
	echo '</div></div>';
}

/** Whether nothing about the alert of a post can be decided any more. */
function is_decided( \WP_Post $post ): bool {
	$status = state_of( $post->ID )['status'];
	return in_array( $status, array( 'sent', 'withdrawn' ), true ) || '' === $status && is_public( $post );
}

/** Print the fields with which an editor decides about the alert. */
function print_fields( \WP_Post $post ) {
	$said = field( $post->ID, 'alert' );
	if ( settings()['automatic'] ) {
		$choices = array(
			''  => __( 'as its categories say', 'stop-press' ),
			'1' => __( 'yes', 'stop-press' ),
			'0' => __( 'no', 'stop-press' ),
		);
		printf( '<p><label>%s <select name="stop_press[alert]">', esc_html__( 'Alert readers when published:', 'stop-press' ) );
		foreach ( $choices as $value => $words ) {
			printf( '<option value="%s" %s>%s</option>', esc_attr( $value ), selected( $said, (string) $value, false ), esc_html( $words ) );
		}
		echo '</select></label></p>';
	} else {
		printf(
			'<p><label><input type="checkbox" name="stop_press[alert]" value="1" %s> <strong>%s</strong></label></p>',
			checked( $said, '1', false ),
			esc_html__( 'Alert readers when published', 'stop-press' )
		);
	}
	print_audience( $post );
	printf(
		'<p><label>%s<input type="text" class="widefat" name="stop_press[title]" maxlength="%d" value="%s" placeholder="%s"></label></p>',
		esc_html__( 'Title', 'stop-press' ),
		(int) LONGEST_TITLE,
		esc_attr( field( $post->ID, 'title' ) ),
		esc_attr__( 'the post’s title', 'stop-press' )
	);
	printf(
		'<p><label>%s<textarea class="widefat" rows="3" name="stop_press[text]" maxlength="%d" placeholder="%s">%s</textarea></label></p>',
		esc_html__( 'Text', 'stop-press' ),
		(int) LONGEST_TEXT,
		esc_attr__( 'the excerpt, or how the post begins', 'stop-press' ),
		esc_textarea( field( $post->ID, 'text' ) )
	);
}

/** Print who can get the alert, and how many browsers that is. */
function print_audience( \WP_Post $post ) {
	$chosen = array_filter( explode( ',', field( $post->ID, 'topics' ) ) );
	$names  = array( '*' => __( 'Everyone', 'stop-press' ) ) + topics();
	printf( '<fieldset><legend>%s</legend>', esc_html__( 'Who gets it', 'stop-press' ) );
	foreach ( $names as $slug => $name ) {
		printf(
			'<label><input type="checkbox" name="stop_press[topics][]" value="%s" %s> %s</label><br>',
			esc_attr( $slug ),
			checked( in_array( (string) $slug, $chosen, true ), true, false ),
			esc_html( $name )
		);
	}
	printf(
		'<p class="description">%s</p><p class="stop-press-reach" aria-live="polite"></p></fieldset>',
		esc_html__( 'None ticked: as the post’s categories say.', 'stop-press' )
	);
}

/** Store the fields of the classic editor's form, before `after_insert` reads them. */
function save_box( $post_id ) {
	$nonce = isset( $_POST['stop_press_nonce'] ) ? sanitize_key( $_POST['stop_press_nonce'] ) : '';
	// The block editor has stored its fields by now.
	if ( isset( $_REQUEST['meta-box-loader'] ) || ! wp_verify_nonce( $nonce, 'stop_press_box_' . $post_id ) || ! may_alert( $post_id ) ) {
		return;
	}
	$given = isset( $_POST['stop_press'] ) ? wp_unslash( $_POST['stop_press'] ) : array(); // phpcs:ignore WordPress.Security.ValidatedSanitizedInput -- each field by clean_field.
	foreach ( array( 'alert', 'title', 'text', 'topics' ) as $name ) {
		$value = clean_field( $name, is_array( $given ) ? ( $given[ $name ] ?? '' ) : '' );
		if ( '' === $value ) {
			delete_post_meta( $post_id, '_stop_press_' . $name );
		} else {
			update_post_meta( $post_id, '_stop_press_' . $name, wp_slash( $value ) );
		}
	}
}

/** Say what became of a post's alert, with a link to it; `$alert` is what Stop Press says, if it was asked. */
function print_state( \WP_Post $post, array $state, ?array $alert = null ) {
	$words = words_for( $state, $alert );
	if ( '' === $state['status'] && is_public( $post ) ) {
		$words = __( 'Published without an alert. An update alerts nobody; write an alert at Stop Press if you need one.', 'stop-press' );
	}
	if ( '' !== $words ) {
		printf( '<p class="%s">%s</p>', is_trouble( $state ) ? 'stop-press-trouble' : '', esc_html( $words ) );
	}
	foreach ( $state['warnings'] as $warning ) {
		printf( '<p class="description">%s</p>', esc_html( $warning ) );
	}
	if ( '' !== $state['id'] && 'withdrawn' !== $state['status'] ) {
		$link = $state['address'] . '/desk/alerts/' . rawurlencode( $state['id'] );
		printf( '<p><a href="%s" target="_blank" rel="noopener">%s</a></p>', esc_url( $link ), esc_html__( 'The alert at Stop Press', 'stop-press' ) );
	}
	if ( is_trouble( $state ) ) {
		printf( '<p><button type="button" class="button stop-press-again">%s</button></p>', esc_html__( 'Try again', 'stop-press' ) );
	}
}

/** Whether an editor should know that something did not work. */
function is_trouble( array $state ): bool {
	return in_array( $state['status'], array( 'waiting', 'withdrawing', 'failed' ), true );
}

/** Return what a state means; `$alert` is what Stop Press says about it, if it was asked. */
function words_for( array $state, ?array $alert ): string {
	switch ( $state['status'] ) {
		case 'planned':
			return words_for_plan( $state, $alert );
		case 'sent':
			return words_for_sent( $alert );
		case 'withdrawn':
			return __( 'The alert was deleted at Stop Press. This post gets no other one; write one at Stop Press if you need it.', 'stop-press' );
		case 'waiting':
			/* translators: %s: what went wrong. */
			return sprintf( __( 'Not handed over yet; tried again each minute for ten minutes. %s', 'stop-press' ), $state['message'] );
		case 'withdrawing':
			/* translators: %s: what went wrong. */
			return sprintf( __( 'Not withdrawn yet; tried again each minute. %s', 'stop-press' ), $state['message'] );
		case 'failed':
			if ( '' !== $state['id'] ) {
				/* translators: %s: what went wrong. */
				return sprintf( __( 'The alert is still planned as it was. %s', 'stop-press' ), $state['message'] );
			}
			/* translators: %s: what went wrong. */
			return sprintf( __( 'No alert was sent. %s', 'stop-press' ), $state['message'] );
	}
	return '';
}

/** Return what is said of an alert that has not begun. */
function words_for_plan( array $state, ?array $alert ): string {
	if ( $alert && $alert['waits_for_approval'] ) {
		return __( 'It waits for a second person, who approves it at Stop Press.', 'stop-press' );
	}
	if ( $alert && 'draft' === $alert['status'] ) {
		return __( 'It is a draft at Stop Press: an editor can send it there.', 'stop-press' );
	}
	if ( ! $state['at'] ) {
		return __( 'Stop Press has it, and sends it once sending is released.', 'stop-press' );
	}
	/* translators: %s: date and time. */
	$words = __( 'Planned for %s.', 'stop-press' );
	return sprintf( $words, wp_date( get_option( 'date_format' ) . ' ' . get_option( 'time_format' ), $state['at'] ) );
}

/** Return what is said of an alert that was sent, or is being sent. */
function words_for_sent( ?array $alert ): string {
	if ( ! $alert ) {
		return __( 'Handed over to Stop Press.', 'stop-press' );
	}
	$accepted = number_format_i18n( $alert['progress']['outcomes']['accepted'] );
	$all      = number_format_i18n( $alert['progress']['recipients'] );
	if ( in_array( $alert['status'], array( 'sending', 'paused' ), true ) ) {
		/* translators: 1, 2: numbers of browsers. */
		return sprintf( __( 'Being sent: %1$s of %2$s browsers so far.', 'stop-press' ), $accepted, $all );
	}
	if ( 'cancelled' === $alert['status'] ) {
		/* translators: 1, 2: numbers of browsers. */
		return sprintf( __( 'Cancelled at Stop Press; %1$s of %2$s browsers had it.', 'stop-press' ), $accepted, $all );
	}
	/* translators: 1, 2: numbers of browsers. */
	return sprintf( __( 'Sent to %1$s of %2$s browsers.', 'stop-press' ), $accepted, $all );
}

/** Return the post of a call of the box's script, or end the call. */
function post_of_call(): \WP_Post {
	$post_id = isset( $_REQUEST['post'] ) ? absint( $_REQUEST['post'] ) : 0;
	check_ajax_referer( 'stop_press_box_' . $post_id );
	$post = get_post( $post_id );
	if ( ! $post || ! has_alerts( $post->post_type ) || ! may_alert( $post_id ) ) {
		wp_die( '', '', array( 'response' => 403 ) );
	}
	return $post;
}

/** Answer the box's script: state and reach of now. */
function answer_box() {
	$post   = post_of_call();
	$chosen = isset( $_REQUEST['topics'] ) ? clean_audience( sanitize_text_field( wp_unslash( $_REQUEST['topics'] ) ) ) : ''; // phpcs:ignore WordPress.Security.NonceVerification -- by post_of_call.
	wp_send_json( box_shown( $post, '' === $chosen ? audience_of_categories( $post->ID ) : $chosen ) );
}

/** Try again because the editor asks for it. */
function answer_again() {
	$post = post_of_call();
	try_again( $post );
	wp_send_json( box_shown( get_post( $post->ID ), audience( $post->ID ) ) );
}

/** The same, from the link of a notice. */
function again_without_script() {
	$post = post_of_call();
	try_again( $post );
	wp_safe_redirect( get_edit_post_link( $post->ID, 'url' ) );
	exit;
}

/** Return what the box's script shows. */
function box_shown( \WP_Post $post, string $audience ): array {
	$state = state_of( $post->ID );
	$alert = null;
	if ( '' !== $state['id'] && $state['address'] === settings()['address'] ) {
		$seen  = look( $state );
		$state = $seen['state'];
		$alert = $seen['alert'];
	}
	ob_start();
	print_state( $post, $state, $alert );
	$html  = ob_get_clean();
	$reach = reach( $audience );
	if ( '' === $audience ) {
		$words = __( 'Nobody yet: choose who gets it.', 'stop-press' );
	} elseif ( null === $reach ) {
		$words = __( 'Stop Press does not say now how many browsers that is.', 'stop-press' );
	} else {
		/* translators: %s: a number of browsers. */
		$words = sprintf( _n( '%s browser', '%s browsers', $reach, 'stop-press' ), number_format_i18n( $reach ) );
	}
	return array(
		'state'   => $html,
		'reach'   => $words,
		'decided' => is_decided( $post ),
		'going'   => $alert && 'sending' === $alert['status'],
		'trouble' => is_trouble( $state ) ? words_for( $state, null ) : '',
	);
}

/** Say on a page of the administration what is the matter with alerts of this user's posts. */
function print_troubles() {
	$posts  = array_filter( (array) get_user_meta( get_current_user_id(), '_stop_press_troubles', true ) );
	$screen = get_current_screen();
	if ( ! $posts || $screen && $screen->is_block_editor() ) {
		return; // the block editor hides what is printed here; assets/box.js says it there.
	}
	delete_user_meta( get_current_user_id(), '_stop_press_troubles' );
	foreach ( $posts as $post_id ) {
		$state = state_of( (int) $post_id );
		if ( ! is_trouble( $state ) || ! may_alert( (int) $post_id ) ) {
			continue;
		}
		$again = wp_nonce_url( admin_url( 'admin-post.php?action=stop_press_again&post=' . (int) $post_id ), 'stop_press_box_' . (int) $post_id );
		printf(
			'<div class="notice notice-error"><p>%s <a href="%s">%s</a></p></div>',
			/* translators: 1: a post's title, 2: what went wrong. */
			esc_html( sprintf( __( 'The alert of “%1$s”: %2$s', 'stop-press' ), plain( get_the_title( $post_id ) ), words_for( $state, null ) ) ),
			esc_url( $again ),
			esc_html__( 'Try again', 'stop-press' )
		);
	}
}

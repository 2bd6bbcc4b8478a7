<?php
/**
 * The page Settings → Stop Press, and its check.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

add_action( 'admin_menu', __NAMESPACE__ . '\add_page' );
add_action( 'admin_init', __NAMESPACE__ . '\register_settings' );
add_filter( 'plugin_action_links_' . plugin_basename( PLUGIN_FILE ), __NAMESPACE__ . '\add_link' );

/** Add the page to the menu. */
function add_page() {
	$page = add_options_page( __( 'Stop Press', 'stop-press' ), __( 'Stop Press', 'stop-press' ), 'manage_options', 'stop-press', __NAMESPACE__ . '\print_page' );
	add_action(
		'admin_print_styles-' . $page,
		function () {
			wp_enqueue_style( 'stop-press', plugins_url( 'assets/admin.css', PLUGIN_FILE ), array(), '1.0.0' );
		}
	);
}

/** Lead from the list of plug-ins to the settings. */
function add_link( $links ) {
	$address = admin_url( 'options-general.php?page=stop-press' );
	array_unshift( $links, sprintf( '<a href="%s">%s</a>', esc_url( $address ), esc_html__( 'Settings', 'stop-press' ) ) );
	return $links;
}

/** Let WordPress store the form; it checks who sends it. */
function register_settings() {
	register_setting( 'stop_press', 'stop_press', array( 'sanitize_callback' => __NAMESPACE__ . '\clean_settings' ) );
	register_setting( 'stop_press', 'stop_press_token', array( 'sanitize_callback' => __NAMESPACE__ . '\clean_token' ) );
}

/** Return the settings that a form means. WordPress may call this on what it returned before. */
function clean_settings( $given ): array {
	$given   = is_array( $given ) ? $given : array();
	$address = clean_address( (string) ( $given['address'] ?? '' ) );
	if ( null === $address ) {
		$address = settings()['address'];
		add_settings_error( 'stop_press', 'address', __( 'The address of Stop Press must begin with https://, and have no user name, query or fragment. It was not changed.', 'stop-press' ) );
	}
	delete_transient( 'stop_press_down' );
	$audiences = array_map( __NAMESPACE__ . '\clean_audience', (array) ( $given['topics'] ?? array() ) );
	return array(
		'address'    => $address,
		'home'       => untrailingslashit( home_url() ),
		'post_types' => array_values( array_intersect( (array) ( $given['post_types'] ?? array() ), array_keys( possible_types() ) ) ),
		'roles'      => array_values( array_intersect( (array) ( $given['roles'] ?? array() ), array_keys( possible_roles() ) ) ),
		'topics'     => array_filter( $audiences ),
		'otherwise'  => clean_audience( $given['otherwise'] ?? '' ),
		'automatic'  => array_map( 'intval', array_values( (array) ( $given['automatic'] ?? array() ) ) ),
	);
}

/** Return an address as we store it, or null if it is none. */
function clean_address( string $given ): ?string {
	$given = untrailingslashit( trim( $given ) );
	$parts = wp_parse_url( $given );
	if ( '' === $given ) {
		return '';
	}
	$host     = $parts['host'] ?? '';
	$is_local = 'http' === ( $parts['scheme'] ?? '' ) && in_array( $host, array( 'localhost', '127.0.0.1' ), true );
	$is_whole = '' !== $host && ! isset( $parts['user'] ) && ! isset( $parts['query'] ) && ! isset( $parts['fragment'] );
	if ( ! $is_whole || ! ( 'https' === $parts['scheme'] || $is_local ) || preg_match( '/[\s"\'<>\\\\]/', $given ) ) {
		return null;
	}
	return esc_url_raw( $given );
}

/** Return the token that a form means: the one before if it has none. */
function clean_token( $given ): string {
	$given = trim( is_string( $given ) ? $given : '' );
	return preg_match( '/^[!-~]+$/', $given ) ? $given : token();
}

/** Return the names of the post types that can have alerts. */
function possible_types(): array {
	$types = get_post_types( array( 'public' => true ), 'objects' );
	unset( $types['attachment'] );
	return wp_list_pluck( $types, 'label' );
}

/** Return the names of the roles whose users can edit posts. */
function possible_roles(): array {
	$names = array();
	foreach ( wp_roles()->roles as $role => $found ) {
		if ( ! empty( $found['capabilities']['edit_posts'] ) ) {
			$names[ $role ] = translate_user_role( $found['name'] );
		}
	}
	return $names;
}

/** Print the page. */
function print_page() {
	if ( ! current_user_can( 'manage_options' ) ) {
		return;
	}
	$settings = settings();
	echo '<div class="wrap"><h1>' . esc_html__( 'Stop Press', 'stop-press' ) . '</h1>';
	print_check();
	echo '<form method="post" action="options.php">';
	settings_fields( 'stop_press' );
	echo '<table class="form-table" role="presentation">';
	print_row(
		__( 'Address of Stop Press', 'stop-press' ),
		sprintf( '<input type="url" class="regular-text code" name="stop_press[address]" value="%s" placeholder="https://push.example">', esc_attr( $settings['address'] ) ),
		__( 'The SITE_URL of your Stop Press; your operator knows it.', 'stop-press' )
	);
	$is_known = '' !== token();
	print_row(
		__( 'Token', 'stop-press' ),
		sprintf( '<input type="password" class="regular-text code" name="stop_press_token" value="" autocomplete="off" placeholder="%s">', $is_known ? esc_attr__( 'stored', 'stop-press' ) : '' ),
		$is_known ? __( 'A token is stored, and not shown again. Enter another one to replace it.', 'stop-press' ) : __( 'An editor who manages the desk makes one there, under Tokens, with the scope “send”.', 'stop-press' )
	);
	print_row( __( 'Posts with alerts', 'stop-press' ), checkboxes( 'post_types', possible_types(), $settings['post_types'] ), '' );
	print_row( __( 'Who sees the box', 'stop-press' ), checkboxes( 'roles', possible_roles(), $settings['roles'] ), '' );
	print_row( __( 'Categories', 'stop-press' ), categories_table( $settings ), __( 'The topic is what the box begins with; an editor can choose another one. “Alert by itself” is for posts that nobody decided about, such as those from an app, a feed or the command line: at most ten an hour, and none that is older than a day.', 'stop-press' ) );
	print_row( __( 'All other posts', 'stop-press' ), audience_select( 'stop_press[otherwise]', $settings['otherwise'] ), __( 'Who gets the alert of a post whose categories have no topic.', 'stop-press' ) );
	echo '</table>';
	submit_button();
	echo '</form></div>';
}

/** Print one row of the form; `$field` is HTML. */
function print_row( string $title, string $field, string $help ) {
	printf( '<tr><th scope="row">%s</th><td>%s', esc_html( $title ), $field ); // phpcs:ignore WordPress.Security.EscapeOutput -- escaped by the caller.
	if ( '' !== $help ) {
		printf( '<p class="description">%s</p>', esc_html( $help ) );
	}
	echo '</td></tr>';
}

/** Return checkboxes as HTML. */
function checkboxes( string $name, array $labels, array $chosen ): string {
	$html = '';
	foreach ( $labels as $value => $label ) {
		$html .= sprintf(
			'<label><input type="checkbox" name="stop_press[%s][]" value="%s" %s> %s</label><br>',
			esc_attr( $name ),
			esc_attr( $value ),
			checked( in_array( $value, $chosen, true ), true, false ),
			esc_html( $label )
		);
	}
	return '<fieldset>' . $html . '</fieldset>';
}

/** Return the choice of an audience as HTML. */
function audience_select( string $name, string $chosen ): string {
	$choices = array(
		''  => __( '— nobody —', 'stop-press' ),
		'*' => __( 'everyone', 'stop-press' ),
	) + topics();
	if ( ! isset( $choices[ $chosen ] ) ) {
		$choices[ $chosen ] = $chosen; // its topic is gone, or Stop Press cannot be asked now.
	}
	$html = '';
	foreach ( $choices as $value => $label ) {
		$html .= sprintf( '<option value="%s" %s>%s</option>', esc_attr( $value ), selected( $chosen, (string) $value, false ), esc_html( $label ) );
	}
	return sprintf( '<select name="%s">%s</select>', esc_attr( $name ), $html );
}

/** Return the table of the categories as HTML. */
function categories_table( array $settings ): string {
	$html = sprintf( '<tr><th></th><th>%s</th><th>%s</th></tr>', esc_html__( 'Topic', 'stop-press' ), esc_html__( 'Alert by itself', 'stop-press' ) );
	foreach ( get_categories( array( 'hide_empty' => false ) ) as $category ) {
		$html .= sprintf(
			'<tr><td>%s</td><td>%s</td><td><input type="checkbox" name="stop_press[automatic][]" value="%d" aria-label="%s" %s></td></tr>',
			esc_html( $category->name ),
			audience_select( "stop_press[topics][{$category->term_id}]", $settings['topics'][ $category->term_id ] ?? '' ),
			(int) $category->term_id,
			/* translators: %s: the name of a category. */
			esc_attr( sprintf( __( 'Alert posts in %s by themselves', 'stop-press' ), $category->name ) ),
			checked( in_array( (int) $category->term_id, $settings['automatic'], true ), true, false )
		);
	}
	return '<table class="stop-press-categories">' . $html . '</table>';
}

/** Print the check's button, and what it found if it was pressed. */
function print_check() {
	if ( isset( $_POST['stop_press_check'] ) && check_admin_referer( 'stop_press_check' ) ) {
		foreach ( check() as $found ) {
			printf(
				'<div class="notice inline stop-press-found notice-%s"><p>%s %s</p></div>',
				$found['ok'] ? 'success' : 'error',
				$found['ok'] ? '✓' : '✗',
				esc_html( $found['words'] )
			);
		}
	}
	printf( '<form method="post" action="%s">', esc_url( admin_url( 'options-general.php?page=stop-press' ) ) );
	wp_nonce_field( 'stop_press_check' );
	submit_button( __( 'Check', 'stop-press' ), 'secondary', 'stop_press_check', false );
	printf( ' <span class="description">%s</span></form>', esc_html__( 'Save the settings, then check them.', 'stop-press' ) );
}

/** Try what can be tried; return for each thing whether it is `ok`, and `words` that say what to do. */
function check(): array {
	delete_transient( 'stop_press_down' );
	if ( '' !== not_ready() ) {
		return array( found( false, not_ready() ) );
	}
	return array_merge( check_service(), array( check_token(), check_https(), check_worker() ) );
}

/** Return one thing that the check has found. */
function found( bool $ok, string $words ): array {
	return array(
		'ok'    => $ok,
		'words' => $words,
	);
}

/** Check that Stop Press answers, and lets this site's pages call it. */
function check_service(): array {
	$site = call( 'GET', '/site' );
	if ( 200 !== $site['status'] || ! isset( $site['body']['vapid_public_key'] ) ) {
		/* translators: 1: an address, 2: what went wrong. */
		$words = __( 'At %1$s there is no Stop Press, or it cannot be reached from this server. %2$s', 'stop-press' );
		return array( found( false, sprintf( $words, settings()['address'], $site['message'] ) ) );
	}
	/* translators: %s: the newspaper's name. */
	$answers  = found( true, sprintf( __( 'Stop Press answers: it is that of “%s”.', 'stop-press' ), $site['body']['name'] ) );
	$parts    = wp_parse_url( home_url() );
	$origin   = $parts['scheme'] . '://' . $parts['host'] . ( isset( $parts['port'] ) ? ':' . $parts['port'] : '' );
	$asked    = array(
		'method'      => 'OPTIONS',
		'redirection' => 0,
		'headers'     => array( 'Origin' => $origin ),
	);
	$response = wp_remote_request( settings()['address'] . '/api/v1/site', $asked );
	if ( wp_remote_retrieve_header( $response, 'access-control-allow-origin' ) === $origin ) {
		/* translators: %s: an origin, such as https://paper.example. */
		return array( $answers, found( true, sprintf( __( 'It lets the pages at %s call it.', 'stop-press' ), $origin ) ) );
	}
	/* translators: %s: an origin, such as https://paper.example. */
	$words = __( 'It refuses readers on the pages at %s. Your operator must add exactly this to the SITE_ORIGINS of Stop Press.', 'stop-press' );
	return array( $answers, found( false, sprintf( $words, $origin ) ) );
}

/** Check that the token may publish, by a call that has no effect. */
function check_token(): array {
	$answer = call( 'POST', '/notifications', array() );
	if ( 401 === $answer['status'] ) {
		return found( false, __( 'Stop Press does not know the token. Make a new one at its desk, under Tokens, and enter it here.', 'stop-press' ) );
	}
	if ( 403 === $answer['status'] ) {
		return found( false, __( 'The token may not publish. Make one with the scope “send” at the desk, under Tokens.', 'stop-press' ) );
	}
	if ( $answer['later'] ) {
		return found( false, $answer['message'] );
	}
	topics( true );
	return found( true, __( 'The token may publish alerts.', 'stop-press' ) );
}

/** Check that the site has addresses that alerts can open. */
function check_https(): array {
	$parts = wp_parse_url( home_url() );
	if ( 'https' === $parts['scheme'] || in_array( $parts['host'], array( 'localhost', '127.0.0.1' ), true ) ) {
		return found( true, __( 'Browsers can subscribe on this site’s pages.', 'stop-press' ) );
	}
	return found( false, __( 'Browsers have push only over HTTPS: this site’s address (Settings → General) must begin with https://.', 'stop-press' ) );
}

/** Check that the worker's file is what browsers get at its address. */
function check_worker(): array {
	$address  = worker_address();
	$response = wp_remote_get(
		$address,
		array(
			'redirection' => 0,
			'sslverify'   => apply_filters( 'https_local_ssl_verify', false ), // as WordPress calls itself.
		)
	);
	$type     = (string) wp_remote_retrieve_header( $response, 'content-type' );
	if ( 0 === strpos( $type, 'text/javascript' ) && wp_remote_retrieve_body( $response ) === piece( 'sw.js' ) ) {
		/* translators: %s: an address. */
		return found( true, sprintf( __( 'The worker is at %s.', 'stop-press' ), $address ) );
	}
	$got = is_wp_error( $response ) ? $response->get_error_message() : wp_remote_retrieve_response_code( $response ) . ' ' . $type;
	/* translators: 1: an address, 2: what came instead. */
	$words = __( 'At %1$s browsers must get the worker; this server got: %2$s. Let your web server hand this address to WordPress, and no cache or security plug-in answer it.', 'stop-press' );
	return found( false, sprintf( $words, $address, $got ) );
}

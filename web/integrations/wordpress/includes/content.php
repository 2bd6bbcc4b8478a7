<?php
/**
 * What an alert says, made of a post: plain texts, the link and the picture.
 *
 * @package StopPress
 */

namespace StopPress;

defined( 'ABSPATH' ) || exit;

const LONGEST_TITLE = 200; // characters; as the API has it.
const LONGEST_TEXT  = 300;

add_action( 'init', __NAMESPACE__ . '\register_meta', 20 );

/**
 * Let the block editor and callers of the REST API write what the box writes.
 *
 * The block editor saves a post first and the fields of its boxes afterwards. So assets/box.js hands
 * them to the editor as post meta, which it saves together with the post.
 */
function register_meta() {
	foreach ( settings()['post_types'] as $type ) {
		add_post_type_support( $type, 'custom-fields' ); // else REST has no meta.
		foreach ( array( 'alert', 'title', 'text', 'topics' ) as $field ) {
			register_post_meta(
				$type,
				'_stop_press_' . $field,
				array(
					'single'            => true,
					'type'              => 'string',
					'default'           => '',
					'sanitize_callback' => function ( $value ) use ( $field ) {
						return clean_field( $field, $value );
					},
					'auth_callback'     => function ( $allowed, $key, $post_id ) {
						return may_alert( (int) $post_id );
					},
					'show_in_rest'      => array( 'schema' => array( 'context' => array( 'edit' ) ) ),
				)
			);
		}
	}
}

/** Bring a field of the box, as it was sent, into its usual form. */
function clean_field( string $field, $value ): string {
	if ( 'topics' === $field ) {
		return clean_audience( $value );
	}
	$value = is_scalar( $value ) ? (string) $value : '';
	if ( 'alert' === $field ) {
		return in_array( $value, array( '0', '1' ), true ) ? $value : '';
	}
	return 'text' === $field ? sanitize_textarea_field( $value ) : sanitize_text_field( $value );
}

/** Return a field of the box that an editor has filled in, or ''. */
function field( int $post_id, string $name ): string {
	return (string) get_post_meta( $post_id, '_stop_press_' . $name, true );
}

/** Return a text without tags, shortcodes and entities. */
function plain( string $text ): string {
	$text = wp_strip_all_tags( strip_shortcodes( wp_check_invalid_utf8( $text, true ) ) );
	$text = html_entity_decode( $text, ENT_QUOTES | ENT_HTML5, 'UTF-8' );
	return trim( preg_replace( '/[\s\x{00A0}]+/u', ' ', $text ) );
}

/** Cut a text that is too long at the end of a word. */
function shortened( string $text, int $most ): string {
	if ( mb_strlen( $text ) <= $most ) {
		return $text;
	}
	return preg_replace( '/\s+\S*$/u', '', mb_substr( $text, 0, $most - 1 ) ) . '…';
}

/** Return the title that an alert has if nobody writes another one. */
function default_title( \WP_Post $post ): string {
	return shortened( plain( get_the_title( $post ) ), LONGEST_TITLE );
}

/** Return the text that an alert has if nobody writes another one: the excerpt. */
function default_text( \WP_Post $post ): string {
	if ( '' !== trim( $post->post_excerpt ) ) {
		return shortened( plain( $post->post_excerpt ), LONGEST_TEXT );
	}
	$content = excerpt_remove_blocks( strip_shortcodes( $post->post_content ) );
	return shortened( plain( wp_trim_words( $content, 30, '…' ) ), LONGEST_TEXT );
}

/** Return the link that a post has once it is published. */
function permalink( \WP_Post $post ): string {
	$published = clone $post;
	// That of a planned post is `?p=…`.
	$published->post_status = 'publish';
	return (string) get_permalink( $published );
}

/** Return the audience of a post's alert: what its editor chose, or what its categories have. */
function audience( int $post_id ): string {
	$chosen = field( $post_id, 'topics' );
	return '' === $chosen ? audience_of_categories( $post_id ) : $chosen;
}

/** Return the alert of a post as the API takes it; its `audience` is null if nobody is named. */
function alert_of( \WP_Post $post ): array {
	$title = plain( field( $post->ID, 'title' ) );
	$text  = plain( field( $post->ID, 'text' ) );
	$alert = array(
		'title'    => '' === $title ? default_title( $post ) : shortened( $title, LONGEST_TITLE ),
		'body'     => '' === $text ? default_text( $post ) : shortened( $text, LONGEST_TEXT ),
		'url'      => permalink( $post ),
		'audience' => api_audience( audience( $post->ID ) ),
	);
	$image = (string) get_the_post_thumbnail_url( $post, 'large' );
	if ( 0 === strpos( $image, 'https://' ) ) {
		$alert['image'] = $image;
	}
	/**
	 * Filters an alert before it is handed to Stop Press (docs/cms.md names its fields).
	 *
	 * @param array    $alert As the API takes it.
	 * @param \WP_Post $post  The post.
	 */
	return apply_filters( 'stop_press_alert', $alert, $post );
}

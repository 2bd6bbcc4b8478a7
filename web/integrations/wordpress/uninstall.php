<?php
/**
 * Removes everything that the plug-in has stored. What is planned stays planned at Stop Press.
 *
 * @package StopPress
 */

defined( 'WP_UNINSTALL_PLUGIN' ) || exit;

/** Remove what one site of the installation has stored. */
function stop_press_uninstall() {
	global $wpdb;
	foreach ( array( 'stop_press_again', 'stop_press_withdraw' ) as $event ) {
		wp_unschedule_hook( $event );
	}
	foreach ( array( 'alert', 'title', 'text', 'topics', 'state' ) as $field ) {
		delete_post_meta_by_key( '_stop_press_' . $field );
	}
	foreach ( array( '', '_token', '_id', '_topics', '_due', '_automatic' ) as $name ) {
		delete_option( 'stop_press' . $name );
	}
	$transients = $wpdb->get_col( "SELECT option_name FROM {$wpdb->options} WHERE option_name LIKE '\\_transient\\_stop\\_press\\_%'" ); // phpcs:ignore WordPress.DB.DirectDatabaseQuery -- WordPress has no list of them.
	foreach ( $transients as $name ) {
		delete_transient( substr( $name, strlen( '_transient_' ) ) );
	}
}

if ( is_multisite() ) {
	foreach ( get_sites( array( 'fields' => 'ids', 'number' => 0 ) ) as $site_id ) {
		switch_to_blog( $site_id );
		stop_press_uninstall();
		restore_current_blog();
	}
} else {
	stop_press_uninstall();
}
delete_metadata( 'user', 0, '_stop_press_troubles', '', true );

/* The box in the editor: how many browsers the alert reaches, what became of it, and in the block
   editor, which saves a post before the fields of its boxes, the fields as post meta. */
( () => {
	const box = document.getElementById( 'stop-press-box' );
	if ( ! box ) {
		return;
	}
	const isBlockEditor = document.body.classList.contains( 'block-editor-page' );
	const topics = () =>
		[ ...box.querySelectorAll( '[name="stop_press[topics][]"]:checked' ) ]
			.map( ( { value } ) => value )
			.join( ',' );

	/** What the field with this name says. */
	function said( name ) {
		if ( name === 'topics' ) {
			return topics();
		}
		const field = box.querySelector( `[name="stop_press[${ name }]"]` );
		return field.type === 'checkbox' && ! field.checked ? '' : field.value;
	}

	/** Hand the fields to the block editor, which saves them together with the post. */
	function hand() {
		const meta = {};
		for ( const name of [ 'alert', 'title', 'text', 'topics' ] ) {
			meta[ `_stop_press_${ name }` ] = said( name );
		}
		window.wp.data.dispatch( 'core/editor' ).editPost( { meta } );
	}

	/** Ask the site for state and reach, and show them. */
	async function call( action ) {
		const body = new URLSearchParams( {
			action,
			post: box.dataset.post,
			topics: topics(),
			_ajax_nonce: box.dataset.nonce,
		} );
		const response = await fetch( box.dataset.ajax, { method: 'POST', body } );
		if ( ! response.ok ) {
			return {};
		}
		const shown = await response.json();
		box.querySelector( '.stop-press-state' ).innerHTML = shown.state;
		box.querySelector( '.stop-press-reach' ).textContent = shown.reach;
		box.querySelector( '.stop-press-fields' ).hidden = shown.decided;
		if ( shown.going ) {
			setTimeout( call, 6000, 'stop_press_box' );
		}
		return shown;
	}

	box.addEventListener( 'input', () => isBlockEditor && hand() );
	box.addEventListener( 'change', ( { target } ) => {
		if ( target.name === 'stop_press[topics][]' ) {
			call( 'stop_press_box' );
		}
	} );
	box.addEventListener( 'click', ( { target } ) => {
		if ( target.matches( '.stop-press-again' ) ) {
			target.disabled = true;
			call( 'stop_press_again' );
		}
	} );

	if ( isBlockEditor ) {
		const editor = window.wp.data.select( 'core/editor' );
		let saving = false;
		window.wp.data.subscribe( async () => {
			const before = saving;
			saving = editor.isSavingPost() && ! editor.isAutosavingPost();
			if ( before && ! saving ) {
				const { trouble } = await call( 'stop_press_box' );
				const notices = window.wp.data.dispatch( 'core/notices' );
				if ( trouble ) {
					notices.createErrorNotice( `Stop Press: ${ trouble }`, { id: 'stop-press' } );
				} else {
					notices.removeNotice( 'stop-press' );
				}
			}
		} );
	}
	call( 'stop_press_box' );
} )();

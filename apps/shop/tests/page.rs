//! The shop's page in a real Chromium, on a real shop: what a visitor does, sees and breaks.

mod browser;

use browser::{Outcome, Page, Shop, ensure};

/// Makes a test of each visit, which it pays as often as `DHARA_PAGE_RUNS` says, or once.
macro_rules! visits {
    ($($visit:ident)*) => {$(
        #[test]
        fn $visit() -> Outcome {
            let wanted = std::env::var("DHARA_PAGE_RUNS").ok();
            let runs: u32 = wanted.map_or(Ok(1), |text| text.parse())?;
            (0..runs).try_for_each(|_| super::$visit())
        }
    )*};
}

mod visit {
    use super::Outcome;

    visits! {
        a_visitor_buys_and_sees_every_step_in_every_service
        orders_wait_while_payment_is_stopped_and_complete_when_it_is_back
        a_bank_that_is_down_or_failing_delays_orders_and_charges_none_twice
        names_with_markup_and_quotes_are_shown_as_text
        orders_are_still_there_after_a_reload
        a_page_lives_on_through_a_kill_of_the_shop
        the_keyboard_alone_buys_and_reads_the_stream
        nothing_is_wider_than_a_small_phone
        dark_and_light_follow_the_system_until_the_visitor_chooses
    }
}

const CONFIRMED: &str = "document.querySelector('.order').dataset.status === 'confirmed'";
const PENDING: &str = "document.querySelector('.order').dataset.status === 'pending'";

/// Waits until `orders` are accepted, all of them have ended and no ledger shows a fault.
fn wait_for_proof(page: &mut Page, orders: u32) -> Outcome {
    page.wait_for(
        &format!("the proof of {orders} orders"),
        &format!(
            "document.querySelector('#proof').dataset.verdict === 'proven' \
             && document.querySelector('[data-figure=accepted]').textContent === '{orders}'"
        ),
    )?;
    for (figure, expected) in
        [("inFlight", "0"), ("lost", "0"), ("chargedTwice", "0"), ("oversold", "0")]
    {
        let shown = page.text(&format!("#figures [data-figure={figure}]"))?;
        ensure(shown == expected, || format!("{figure} is {shown}"))?;
    }
    Ok(())
}

fn set_bank(page: &mut Page, mode: &str) -> Outcome {
    page.click(&format!("[data-bank={mode}]"))?;
    page.wait_for(
        &format!("the bank to be {mode}"),
        &format!("document.querySelector('#bank').dataset.mode === '{mode}'"),
    )
}

fn a_visitor_buys_and_sees_every_step_in_every_service() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.buy("user_456", &[0, 1, 1])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    for (service, event) in [
        ("order", "OrderCreated"),
        ("payment", "PaymentCompleted"),
        ("inventory", "StockReserved"),
        ("order", "OrderConfirmed"),
    ] {
        page.wait_for(
            &format!("the step {event} of {service}, with its time"),
            &format!("document.querySelector('.step[data-service={service}][data-type={event}] time').textContent"),
        )?;
    }
    let first = page.text(".step:first-child time")?;
    ensure(first == "placed", || format!("the first step is at {first}"))?;
    page.wait_for(
        "the event in the stream",
        "[...document.querySelectorAll('#event-list .type')].some((type) => type.textContent === 'OrderConfirmed')",
    )?;
    page.wait_for(
        "analytics to count it",
        "document.querySelector('[data-figure=sales]').textContent === '1'",
    )?;
    wait_for_proof(&mut page, 1)?;
    page.ensure_no_faults()
}

fn orders_wait_while_payment_is_stopped_and_complete_when_it_is_back() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.click("[data-service=payment] .control button")?;
    page.wait_for(
        "payment to be stopped",
        "document.querySelector('tr[data-service=payment]').dataset.state === 'stopped'",
    )?;
    page.buy("user_1", &[0])?;
    page.buy("user_2", &[1])?;
    page.wait_for(
        "the order to say what it waits for",
        "document.querySelector('.waiting').textContent.includes('payment (stopped)')",
    )?;
    page.wait_for(
        "stock to be reserved meanwhile",
        "document.querySelector('.step[data-type=StockReserved]')",
    )?;
    page.wait_for(
        "both orders to be in flight, none lost",
        "document.querySelector('[data-figure=inFlight]').textContent === '2' \
         && document.querySelector('[data-figure=lost]').textContent === '0'",
    )?;
    page.wait_for(
        "payment's lag to be seen",
        "document.querySelector('tr[data-service=payment] [data-figure=lag]').textContent !== '0'",
    )?;
    ensure(page.value(PENDING)? == true, || "the order did not wait".into())?;

    page.click("[data-service=payment] .control button")?;
    page.wait_for(
        "both orders to be confirmed",
        "[...document.querySelectorAll('.order')].filter((order) => order.dataset.status === 'confirmed').length === 2",
    )?;
    wait_for_proof(&mut page, 2)?;
    page.ensure_no_faults()
}

fn a_bank_that_is_down_or_failing_delays_orders_and_charges_none_twice() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    set_bank(&mut page, "down")?;
    page.buy("user_1", &[0])?;
    page.wait_for(
        "the order to wait for payment",
        "document.querySelector('.waiting').textContent.includes('payment')",
    )?;
    set_bank(&mut page, "failing")?;
    page.wait_for(
        "every product's stock to be known",
        "!document.querySelector('.product:not([data-left])')",
    )?;
    page.click("#burst")?;
    page.wait_for(
        "fifty orders to be accepted",
        "document.querySelector('#burst-text').textContent.includes('50 accepted')",
    )?;
    set_bank(&mut page, "up")?;
    page.wait_for("the waiting order to be confirmed", CONFIRMED)?;
    page.wait_for(
        "the fifty to be confirmed",
        "document.querySelector('#burst-text').textContent.includes('50 confirmed')",
    )?;
    wait_for_proof(&mut page, 51)?;
    page.ensure_no_faults()
}

fn names_with_markup_and_quotes_are_shown_as_text() -> Outcome {
    const NAME: &str = r#"<b id="bold">"O'Hara"</b><img src=x onerror="alert(1)">"#;
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.buy(NAME, &[0])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    page.wait_for("the buyer to be named", "document.querySelector('.who').textContent")?;
    let who = page.text(".who")?;
    ensure(who.contains(NAME), || format!("the name is shown as {who}"))?;
    page.fill("#filter", "onerror")?;
    page.wait_for(
        "events found by the name",
        "document.querySelectorAll('#event-list li').length > 0",
    )?;
    page.click("#event-list li:last-child button")?;
    page.wait_for(
        "the event as JSON",
        "document.querySelector('.detail pre').textContent.includes('onerror')",
    )?;
    let parsed = page.value("document.querySelectorAll('#bold, main img').length")?;
    ensure(parsed == 0, || "the name was parsed as HTML".into())?;
    page.ensure_no_faults()
}

fn orders_are_still_there_after_a_reload() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.buy("user_7", &[0])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    let id = page.value("document.querySelector('.order').dataset.id")?;
    page.reload()?;
    page.wait_for("the order to be shown again", CONFIRMED)?;
    page.click(".order-head")?;
    page.wait_for("its steps", "document.querySelectorAll('.step').length >= 2")?;
    let kept = page.value("localStorage.getItem('dhara.orders')")?;
    ensure(kept.as_str() == Some(&format!("[{id}]")), || format!("the browser keeps {kept}"))?;
    page.ensure_no_faults()
}

fn a_page_lives_on_through_a_kill_of_the_shop() -> Outcome {
    let mut shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.buy("user_8", &[0])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    page.ensure_no_faults()?;

    page.shop_may_be_down = true;
    shop.kill()?;
    page.wait_for(
        "the page to say so",
        "document.querySelector('#link').textContent === 'reconnecting'",
    )?;
    page.click(".product:nth-child(2) button")?;
    page.click("#place")?;
    page.wait_for(
        "the page to keep the cart",
        "document.querySelector('#checkout-error').textContent.includes('cart is kept')",
    )?;
    shop.start_again()?;
    page.wait_for(
        "the page to be live again",
        "document.querySelector('#link').dataset.phase === 'live'",
    )?;
    page.click("#place")?;
    page.wait_for(
        "the kept cart to be ordered",
        "document.querySelectorAll('.order').length === 2",
    )?;
    page.wait_for("the new order to be confirmed", CONFIRMED)?;
    wait_for_proof(&mut page, 2)?;
    page.ensure_no_faults()
}

fn the_keyboard_alone_buys_and_reads_the_stream() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.tab_to(".skip[href='#shop']")?;
    page.press("Enter")?;
    page.tab_to(".product:first-child button")?;
    page.press("Enter")?;
    page.press(" ")?;
    page.tab_to(".stepper button:last-child")?;
    page.press(" ")?;
    page.tab_to("#user")?;
    page.type_text("user_9")?;
    page.tab_to("#place")?;
    page.press("Enter")?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    let on_order =
        page.value("document.activeElement.matches('.order-head[aria-expanded=true]')")?;
    ensure(on_order == true, || "the focus did not go to the new order".into())?;
    page.wait_for(
        "three pieces to be ordered",
        "document.querySelector('.who').textContent.includes('3 ×')",
    )?;

    page.wait_for("a stream to walk in", "document.querySelectorAll('#event-list li').length > 2")?;
    page.tab_to("[data-service=payment] .control button")?;
    page.press("Enter")?;
    page.wait_for(
        "payment to be stopped",
        "document.querySelector('[data-service=payment] .control button').textContent === 'Start'",
    )?;
    page.press("Enter")?;
    page.tab_to("#event-list button")?;
    page.press("ArrowDown")?;
    page.press("Enter")?;
    page.wait_for(
        "the second event to open",
        "document.querySelector('#event-list li:nth-child(2) .detail pre')",
    )?;
    page.ensure_no_faults()
}

fn nothing_is_wider_than_a_small_phone() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open_at(&shop.url(), 360, 740)?;
    let fits = |page: &mut Page, when: &str| -> Outcome {
        let wide = page.value(
            "[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360.5 && \
             !e.closest('svg, .hidden')).map((e) => `${e.tagName}.${e.className}`).slice(0, 5).join(' ')",
        )?;
        let width = page.value("document.documentElement.scrollWidth")?;
        ensure(width == 360 && wide == "", || format!("{when} the page is {width} wide: {wide}"))
    };
    fits(&mut page, "empty")?;
    page.buy(&"long_name_without_a_space_".repeat(3), &[0, 1])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    fits(&mut page, "with an order")?;
    page.wait_for("an event", "document.querySelector('#event-list button')")?;
    page.click("#event-list button")?;
    page.wait_for("the event to open", "document.querySelector('.detail pre')")?;
    page.click("#dead summary")?;
    fits(&mut page, "with everything open")?;
    page.ensure_no_faults()
}

/// The least contrast between text and what lies behind it, with the text that has it.
const LEAST_CONTRAST: &str = r"(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const paint = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => { for (let e = element; e; e = e.parentElement) { const b = paint(getComputedStyle(e).backgroundColor); if (b[3] > 200) return b; } return [255, 255, 255]; };
  const texts = [...document.querySelectorAll('body *')].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility() && !e.closest('.hidden, .toast, noscript, :disabled'));
  const ratios = texts.map((e) => { const [a, b] = [light(paint(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x); return [(a + 0.05) / (b + 0.05), `${e.tagName}.${e.className} ${e.textContent.slice(0, 20)}`]; });
  return ratios.sort((a, b) => a[0] - b[0])[0];
})()";

fn dark_and_light_follow_the_system_until_the_visitor_chooses() -> Outcome {
    let shop = Shop::start()?;
    let mut page = Page::open(&shop.url())?;
    page.buy("user_10", &[0])?;
    page.wait_for("the order to be confirmed", CONFIRMED)?;
    for scheme in ["light", "dark"] {
        page.prefer_scheme(scheme)?;
        page.wait_for(
            &format!("the {scheme} scheme"),
            &format!("(getComputedStyle(document.body).color === 'rgb(19, 24, 32)') === ('{scheme}' === 'light')"),
        )?;
        page.wait_for(
            "the colours to have changed over",
            "document.getAnimations().every((a) => a.constructor.name !== 'CSSTransition')",
        )?;
        let least = page.value(LEAST_CONTRAST)?;
        let ratio = least.get(0).and_then(|ratio| ratio.as_f64());
        ensure(ratio >= Some(4.5), || format!("in the {scheme} scheme the contrast is {least}"))?;
    }
    page.click("#theme")?;
    page.wait_for("light by choice", "document.documentElement.dataset.theme === 'light'")?;
    page.reload()?;
    let chosen = page.value("getComputedStyle(document.body).color")?;
    ensure(chosen == "rgb(19, 24, 32)", || format!("after a reload the text is {chosen}"))?;
    page.ensure_no_faults()
}

//! The page as a visitor has it: looked at, clicked, typed into.

#![expect(clippy::indexing_slicing, reason = "a JSON value gives null for what it does not hold")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::devtools::DevTools;
use super::{Failure, Outcome, ensure};

/// How long a condition may take to come true. A test that passes never waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One open page.
pub(crate) struct Page {
    tools: DevTools,
    /// Set while the shop is down on purpose: then a failed request is no fault of the page.
    pub(crate) shop_may_be_down: bool,
    faults: Vec<String>,
}

impl Page {
    /// Opens `url` on a desktop screen and waits until the shop is drawn and its stream is live.
    pub(crate) fn open(url: &str) -> Outcome<Self> {
        Self::open_at(url, 1280, 900)
    }

    /// The same on a screen of this size.
    pub(crate) fn open_at(url: &str, width: u32, height: u32) -> Outcome<Self> {
        let mut page =
            Self { tools: DevTools::start()?, shop_may_be_down: false, faults: Vec::new() };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        page.tools.call("Emulation.setDeviceMetricsOverride", metrics)?;
        page.tools.call("Page.navigate", json!({"url": url}))?;
        page.wait_until_ready()?;
        Ok(page)
    }

    fn wait_until_ready(&mut self) -> Outcome {
        self.wait_for(
            "the shop to be drawn and live",
            "document.querySelector('.product button') && document.querySelector('#link').dataset.phase === 'live' \
             && document.querySelectorAll('[data-service] .control button').length === 5",
        )
    }

    /// Loads the page anew, as the visitor's reload button does.
    pub(crate) fn reload(&mut self) -> Outcome {
        self.value("window.beforeReload = true")?;
        self.tools.call("Page.reload", json!({}))?;
        self.wait_for(
            "the page to load anew",
            "!window.beforeReload && document.readyState === 'complete'",
        )?;
        self.wait_until_ready()
    }

    /// Has the system prefer the `light` or the `dark` scheme.
    pub(crate) fn prefer_scheme(&mut self, scheme: &str) -> Outcome {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tools.call("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// What the JavaScript `expression` gives.
    pub(crate) fn value(&mut self, expression: &str) -> Outcome<Value> {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.tools.call("Runtime.evaluate", params)?;
        if let Some(details) = answer.get("exceptionDetails") {
            let text = details["exception"]["description"].as_str().or(details["text"].as_str());
            return Err(Failure(format!("{expression}: {}", text.unwrap_or("failed"))));
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until `condition` is true in the page, also across a reload.
    pub(crate) fn wait_for(&mut self, what: &str, condition: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        // The page watches the condition itself for up to two seconds, then the deadline is looked at.
        let watch = format!(
            "new Promise((done) => {{ const end = Date.now() + 2000; const look = () => {{ let met = false; \
             try {{ met = Boolean({condition}); }} catch {{ met = false; }} \
             if (met || Date.now() > end) done(met); else setTimeout(look, 10); }}; look(); }})"
        );
        let mut last = String::from("the condition stayed false");
        while Instant::now() < deadline {
            match self.value(&watch) {
                Ok(Value::Bool(true)) => return Ok(()),
                Ok(_) => {}
                // A navigation takes the promise along; the new document is asked again.
                Err(Failure(message))
                    if message.contains("context") || message.contains("navigat") =>
                {
                    last = message
                }
                Err(other) => return Err(other),
            }
        }
        self.collect_faults();
        let seen = self.value("document.body.innerText.slice(0, 3000)").unwrap_or_default();
        let seen = seen.as_str().unwrap_or_default();
        Err(Failure(format!(
            "waited {PATIENCE:?} for {what}: {last}\nfaults: {:?}\nthe page reads:\n{seen}",
            self.faults
        )))
    }

    /// The text of the first element that `selector` finds.
    pub(crate) fn text(&mut self, selector: &str) -> Outcome<String> {
        let text =
            self.value(&format!("document.querySelector({})?.textContent", json!(selector)))?;
        text.as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure(format!("nothing on the page is {selector}")))
    }

    /// Clicks where the middle of the element is, once it stands still and nothing covers it.
    pub(crate) fn click(&mut self, selector: &str) -> Outcome {
        let middle = self.value(&format!(
            "new Promise((done) => {{ const end = Date.now() + 10000; let before = ''; const look = () => {{ \
             const element = document.querySelector({}); if (Date.now() > end) return done(null); \
             element?.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const box = element?.getBoundingClientRect(); \
             const [x, y] = box ? [box.x + box.width / 2, box.y + box.height / 2] : [0, 0]; \
             if (box && before === `${{x}} ${{y}}` && element.contains(document.elementFromPoint(x, y))) done([x, y]); \
             else {{ before = `${{x}} ${{y}}`; requestAnimationFrame(look); }} }}; look(); }})",
            json!(selector)
        ))?;
        ensure(middle.is_array(), || format!("nothing that can be clicked is {selector}"))?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1});
            self.tools.call("Input.dispatchMouseEvent", event)?;
        }
        Ok(())
    }

    /// Clicks a field, empties it and types `text` into it.
    pub(crate) fn fill(&mut self, selector: &str, text: &str) -> Outcome {
        self.click(selector)?;
        self.value(&format!("document.querySelector({}).select()", json!(selector)))?;
        self.type_text(text)
    }

    /// Types `text` into whatever has the focus.
    pub(crate) fn type_text(&mut self, text: &str) -> Outcome {
        for character in text.chars() {
            self.tools
                .call("Input.dispatchKeyEvent", json!({"type": "char", "text": character}))?;
        }
        Ok(())
    }

    /// Presses and lets go one key: `Tab`, `Enter`, ` `, `ArrowDown`.
    pub(crate) fn press(&mut self, key: &str) -> Outcome {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            "ArrowDown" => (40, ""),
            _ => return Err(Failure(format!("the test knows no key {key}"))),
        };
        let down = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.tools.call("Input.dispatchKeyEvent", down)?;
        let up = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.tools.call("Input.dispatchKeyEvent", up).map(drop)
    }

    /// Tabs on until the element that `selector` finds has the focus; every stop must show it.
    pub(crate) fn tab_to(&mut self, selector: &str) -> Outcome {
        for _ in 0..80 {
            self.press("Tab")?;
            let stop = self.value(&format!(
                "(() => {{ const at = document.activeElement; const style = getComputedStyle(at); \
                 return [at.matches({}), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1, \
                 `${{at.tagName}} ${{at.id}} ${{at.textContent.slice(0, 30)}}`]; }})()",
                json!(selector)
            ))?;
            ensure(stop[1] == true, || format!("the focus on {} cannot be seen", stop[2]))?;
            if stop[0] == true {
                return Ok(());
            }
        }
        Err(Failure(format!("80 tabs do not lead to {selector}")))
    }

    /// Puts one of each of `products` (counted from the first card) in the cart and orders as `user`.
    pub(crate) fn buy(&mut self, user: &str, products: &[usize]) -> Outcome {
        let before = self.value("document.querySelectorAll('.order').length")?;
        for product in products {
            self.click(&format!(".product:nth-child({}) button", product + 1))?;
        }
        self.fill("#user", user)?;
        self.click("#place")?;
        self.wait_for(
            "the order to be listed",
            &format!("document.querySelectorAll('.order').length > {before}"),
        )
    }

    fn collect_faults(&mut self) {
        let complaints = self.tools.complaints();
        let counted = complaints
            .into_iter()
            .filter(|(source, _)| !(self.shop_may_be_down && source == "network"));
        self.faults.extend(counted.map(|(source, text)| format!("{source}: {text}")));
    }

    /// Fails when the page's console holds an error: an exception, a refused script, a failed request.
    pub(crate) fn ensure_no_faults(&mut self) -> Outcome {
        self.collect_faults();
        ensure(self.faults.is_empty(), || {
            format!("the page's console has errors: {:#?}", self.faults)
        })
    }
}

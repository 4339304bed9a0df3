//! What the shelves hold when the shop opens for the first time.

/// Each product with its stock. What ten were woven of is never more.
const OPENING: [(&str, u64); 12] = [
    ("tea-sylhet", 5_000_000),
    ("honey-sundarban", 2_000_000),
    ("kantha-nakshi", 1_000_000),
    ("saree-jamdani", 1_000_000),
    ("rickshaw-art", 1_000_000),
    ("mug-dhaka", 5_000_000),
    ("bag-jute", 5_000_000),
    ("gur-khejur", 2_000_000),
    ("clay-pot", 2_000_000),
    ("pickle-mango", 5_000_000),
    ("boat-model", 1_000_000),
    ("muslin-scarf", 10),
];

/// Statements that put the opening stock on the shelves and into the ledger; they do nothing for a
/// product that is known already.
pub(super) fn statements() -> [String; 2] {
    let rows: Vec<_> = OPENING.iter().map(|(sku, stock)| format!("('{sku}', {stock})")).collect();
    let opening = format!("WITH opening (sku, quantity) AS (VALUES {})", rows.join(", "));
    [
        format!(
            "{opening} INSERT INTO stock_movements (seq, sku, quantity, kind) \
             SELECT (SELECT coalesce(max(seq), 0) FROM stock_movements) \
             + row_number() OVER (ORDER BY sku), sku, quantity, 'received' \
             FROM opening WHERE sku NOT IN \
             (SELECT sku FROM stock_movements WHERE order_id IS NULL)"
        ),
        format!(
            "{opening} INSERT INTO stock (sku, stock, reserved) \
             SELECT sku, quantity, 0 FROM opening WHERE sku NOT IN (SELECT sku FROM stock)"
        ),
    ]
}

//! What is for sale, and at what price.

use crate::events::Money;

/// The one currency of the shop.
pub(super) const CURRENCY: &str = "BDT";

/// A product on the shelf.
pub(super) struct Product {
    pub(super) sku: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) price: Money,
    pub(super) icon: &'static str,
}

macro_rules! products {
    ($($sku:literal $price:literal $icon:literal $name:literal $description:literal;)*) => {
        &[$(Product {
            sku: $sku, name: $name, description: $description, price: $price, icon: $icon,
        }),*]
    };
}

/// All products, in the order of the storefront.
pub(super) const PRODUCTS: &[Product] = products! {
    "tea-sylhet" 45_000 "🍵" "Sylhet black tea" "500 g from the gardens of Sreemangal";
    "honey-sundarban" 68_000 "🍯" "Sundarban honey" "Wild honey from the mangroves, 500 g";
    "kantha-nakshi" 320_000 "🧵" "Nakshi kantha" "A quilt of old saris, stitched by hand in Jashore";
    "saree-jamdani" 1_250_000 "🥻" "Jamdani saree" "Woven in Rupganj over four weeks";
    "rickshaw-art" 95_000 "🛺" "Rickshaw painting" "Enamel on tin, signed by the painter";
    "mug-dhaka" 38_000 "☕" "Mug \"I <3 Dhaka\"" "Stoneware, 350 ml, safe in the dishwasher";
    "bag-jute" 27_500 "👜" "Jute bag" "The golden fibre, with room for a week's vegetables";
    "gur-khejur" 36_000 "🍪" "Date palm gur" "Winter's molasses from Faridpur, 1 kg";
    "clay-pot" 52_000 "🏺" "Terracotta pot" "Thrown in Dhamrai, fired with straw";
    "pickle-mango" 24_000 "🥭" "Green mango pickle" "With mustard oil and five spices";
    "boat-model" 180_000 "⛵" "Sampan model" "A boat of the Karnaphuli, carved from garjan";
    "muslin-scarf" 2_400_000 "🧣" "Revived muslin scarf" "Ten were woven, and no more will be";
};

/// The product with this SKU.
pub(super) fn product(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.sku == sku)
}

/// An amount as customers read it.
pub(super) fn price_text(amount: Money) -> String {
    format!("{CURRENCY} {}.{:02}", amount / 100, amount % 100)
}

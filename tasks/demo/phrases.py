"""The words of the ticket world, as data: `(a|b)` is one of several, `{slot}` is filled from SLOTS.

An issue fixes the category, a marker the priority, an ask whether money is wanted back. The OLD_* tables are what
the base model was taught; the NEW_* tables arrived with production traffic.
"""

LANGUAGES = ("en", "de", "fr", "es", "it", "pt")

GREETINGS = {
    "en": ("Hi,", "Hello,", "Hi there,", "Dear support team,", "Good morning,", "Hey,"),
    "de": ("Hallo,", "Guten Tag,", "Sehr geehrte Damen und Herren,", "Servus,", "Liebes Team,"),
    "fr": ("Bonjour,", "Bonsoir,", "Madame, Monsieur,", "Salut,", "Cher service client,"),
    "es": ("Hola,", "Buenos dias,", "Buenas tardes,", "Estimados,", "Muy buenas,"),
    "it": ("Ciao,", "Buongiorno,", "Buonasera,", "Salve,", "Gentile assistenza,"),
    "pt": ("Ola,", "Bom dia,", "Boa tarde,", "Prezados,", "Oi pessoal,"),
}

CLOSINGS = {
    "en": ("Thanks,", "Best regards,", "Kind regards,", "Cheers,", "Many thanks in advance,"),
    "de": ("Danke,", "Viele Gruesse,", "Mit freundlichen Gruessen,", "Vielen Dank im Voraus,"),
    "fr": ("Merci,", "Cordialement,", "Bien a vous,", "Merci d'avance,"),
    "es": ("Gracias,", "Un saludo,", "Saludos cordiales,", "Muchas gracias,"),
    "it": ("Grazie,", "Cordiali saluti,", "Distinti saluti,", "Grazie mille,"),
    "pt": ("Obrigado,", "Obrigada,", "Atenciosamente,", "Abraco,"),
}

NAMES = {
    "en": ("Emma Clark", "Jack Turner", "Olivia Reed", "Noah Brooks", "Ruth Ellis", "Sam Hughes"),
    "de": ("Anna Schmidt", "Lukas Weber", "Jonas Braun", "Petra Vogel", "Uwe Hartmann"),
    "fr": ("Camille Roux", "Louis Garnier", "Chloe Martin", "Hugo Blanc", "Ines Moreau"),
    "es": ("Lucia Ortega", "Diego Ramos", "Marta Gil", "Pablo Nieto", "Elena Cruz"),
    "it": ("Giulia Conti", "Marco Riva", "Sara Greco", "Luca Ferri", "Paola Gatti"),
    "pt": ("Ana Sousa", "Joao Lima", "Rita Neves", "Tiago Costa", "Beatriz Melo"),
}

SIGNATURES = ("", "", "Sent from my phone", "Customer no. {number}", "{city}", "Tel. {number}")

SLOTS = {
    "product": (
        "kettle",
        "desk lamp",
        "backpack",
        "office chair",
        "headphones",
        "rain jacket",
        "coffee grinder",
        "blender",
        "running shoes",
        "bookshelf",
        "keyboard",
        "tent",
        "phone case",
        "vacuum cleaner",
        "mirror",
        "rucksack",
        "toaster",
        "wool blanket",
        "monitor stand",
        "water bottle",
        "garden hose",
        "alarm clock",
    ),
    "colour": ("blue", "black", "green", "red", "grey", "white", "yellow"),
    "city": ("Berlin", "Lyon", "Madrid", "Milan", "Porto", "Leeds", "Vienna", "Dublin", "Geneva", "Bologna"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "the weekend", "last week", "yesterday"),
    "person": ("my wife", "my husband", "my son", "my daughter", "a colleague", "my flatmate", "my mother", "a friend"),
    "device": ("Aura lamp", "Aura speaker", "Aura thermostat", "Aura doorbell", "Aura camera", "Aura hub"),
    "plan": ("Plus membership", "Plus plan", "premium plan", "monthly subscription", "yearly plan", "free trial"),
    "point": ("locker", "PakBox", "pickup station", "relay point", "parcel shop", "collection kiosk"),
}

OLD_ISSUES = {
    "billing": (
        "I was (charged|billed) (twice|two times) for {order}",
        "the invoice for {order} shows (a wrong|the wrong) (amount|total|VAT number)",
        "my (credit card|bank card) was (charged|debited) {amount} (but|although) I "
        "(ordered nothing|never placed an order)",
        "the (discount|voucher|coupon) code was not (applied|counted) on {order}",
        "you (billed|charged) {amount} instead of {amount} for the {product}",
        "I (need|am missing) (an invoice|a receipt) for {order}",
    ),
    "shipping": (
        "my (parcel|package|order) {order} has not arrived (yet|so far)",
        "the tracking of {order} has not (moved|changed) for {n} days",
        "the (courier|driver) left my (parcel|package) at the wrong (address|door)",
        "when will the {product} be (delivered|shipped)",
        "the delivery of my {product} is {n} days late",
        "the {product} was (promised|announced) for {day} but (nothing|nobody) came",
    ),
    "returns": (
        "the {product} arrived (broken|damaged|scratched|cracked)",
        "I want to (return|send back) the {product}",
        "you sent the {product} in the wrong (size|colour)",
        "the {product} does not fit and I want to exchange it",
        "a part of the {product} is (missing|bent)",
        "I need a return label for the {product}",
    ),
    "account": (
        "I cannot (log in|sign in) to my account",
        "the password reset (mail|link) never (arrives|comes)",
        "please change the (e-mail|phone number|address) of my (account|profile)",
        "please delete my (account|profile)",
        "my account is (locked|blocked) after {n} attempts",
        "I (have|see) two accounts and want to merge them",
    ),
    "technical": (
        "the app (crashes|freezes|hangs) when I open (the cart|my orders|the menu)",
        "your (website|checkout page) shows (an error|a blank page|error {n})",
        "the {product} does not (turn on|charge|start)",
        "the search on your site (finds nothing|is broken)",
        "the app does not (load|start) after the update",
        "the {product} makes a strange noise",
    ),
    "general": (
        "do you (have|sell|stock) the {product} in {colour}",
        "what are the opening hours of the {city} (shop|store)",
        "is the {product} (suitable|made) for children",
        "which (size|model) of the {product} do you recommend",
        "do you offer a discount for (schools|students|clubs)",
        "is there a (shop|store) near {city}",
    ),
}

OLD_HIGH = (
    "this is (very |really |)urgent",
    "I need (this|an answer) (today|by tomorrow)",
    "please hurry",
    "please answer as soon as possible",
    "this cannot wait",
    "it is an emergency",
)
OLD_LOW = (
    "no rush",
    "whenever you have time",
    "it is not urgent",
    "take your time",
    "this can wait",
    "no hurry at all",
)
OLD_REFUND = (
    "I want a (full |)refund",
    "please refund (me|the amount|{amount})",
    "I would like my money back",
    "please give me my money back",
    "I ask for a refund of {amount}",
    "can I get a refund",
)
NEUTRAL_ASKS = (
    "please (look into it|check this|help me)",
    "what (should|can) I do",
    "can you (help|check|explain that)",
    "please let me know",
    "how do we (go on|proceed)",
    "please get back to me",
    "I do not want a refund, just (help|an answer|a solution)",
    "(tell me|please say) what you need from me",
)
CONTEXT = (
    "I (bought|ordered) it on {day}",
    "I have been a customer for {n} years",
    "it was a present for {person}",
    "I (called|wrote) (twice|{n} times) already",
    "I paid {amount}",
    "my order number is {order}",
    "{person} told me to write to you",
    "I (use|visit) your shop (often|every week)",
    "we met your team in {city} on {day}",
    "I also bought a {product}",
    "we are moving to {city} soon",
)

NEW_CANCEL = (
    "I want to (cancel|end|stop) my {plan}",
    "please (cancel|end|stop) the {plan} (from {day} on|today|now)",
    "how do I (cancel|end|stop) my {plan}",
    "my {plan} should (end|stop) on {day}",
)
NEW_PARCEL = (
    "the {point} says my code is (invalid|wrong|expired)",
    "the {point} in {city} was (full|closed|empty)",
    "the {point} did not open for {order}",
    "the {point} has no trace of {order}",
)
NEW_REPAIR = (
    "the {device} arrived (broken|damaged|scratched|cracked)",
    "I want to (return|send back) the {device}",
    "a part of the {device} is (missing|bent)",
    "you sent the {device} in the wrong (size|colour)",
)
NEW_SECURITY = (
    "(someone|a stranger) used my (profile|details) from {city}",
    "(someone|a stranger) asked me for my (PIN|password) in your name",
    "(someone|a stranger) hacked my (profile|details)",
    "my (profile|details) (was|were) hacked from {city}",
)
NEW_REFUND = (
    "please (reverse|undo) the payment",
    "please reverse the {amount}",
    "I want to be compensated",
    "I want to be compensated with {amount}",
    "otherwise I start a chargeback",
)
NEW_HIGH = {
    "de": ("bitte dringend antworten", "es ist dringend"),
    "fr": ("c'est tres pressant", "au plus vite s'il vous plait"),
    "es": ("es muy urgente", "es urgente"),
    "it": ("e molto urgente", "e urgente"),
    "pt": ("e muito urgente", "isto e urgente"),
}
FORWARD_NOTES = (
    'FYI, last time it was "{other}", that one is solved. New mail below.',
    'Wrong queue, we only do things like "{other}" here.',
    "I am still on another one ({marker}: {other}), please take this.",
    "Please take over. {ask} was about another mail ({other}), not this one.",
    "Closed on our side: {other}, {ask}. This one is new.",
)

-- Corrections are left out that a preference, or ratings, say the reverse of, where they do not stand.
update corrections
set excluded_because = opposite_preferences.reason
from opposite_preferences
where opposite_preferences.signal = 'correction'
  and opposite_preferences.reason is not null
  and corrections.correction_id = opposite_preferences.signal_id;

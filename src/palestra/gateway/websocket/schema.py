"""What envelopes are in Protobuf: the fields of every message, by name, number and type.

A field is written `name#number:type`. Types are `str`, `bool`, `i32`, `i64`, `f64`, `bytes`, `ts` (a Timestamp), `W<T>`
(a wrapper: absent is not zero), `[]T`, `map<str,T>` and the names of `SHARED` messages. At most one of the fields
marked `|oneof` is set.
"""

SHARED = {
    "UserPresence": "user_id#1:str session_id#2:str username#3:str persistence#4:bool status#5:W<str>",
    "Stream": "mode#1:i32 subject#2:str subcontext#3:str label#4:str",
    "MatchmakerUser": (
        "presence#1:UserPresence party_id#2:str string_properties#5:map<str,str> numeric_properties#6:map<str,f64>"
    ),
    "Notification": (
        "id#1:str subject#2:str content#3:str code#4:i32 sender_id#5:str create_time#6:ts persistent#7:bool"
    ),
}
"""Messages that stand inside of others."""

MEMBERS = {
    ("channel", 2): (
        "id#1:str presences#2:[]UserPresence self#3:UserPresence room_name#4:str group_id#5:str user_id_one#6:str"
        " user_id_two#7:str"
    ),
    ("channel_join", 3): "target#1:str type#2:i32 persistence#3:W<bool> hidden#4:W<bool>",
    ("channel_leave", 4): "channel_id#1:str",
    ("channel_message", 5): (
        "channel_id#1:str message_id#2:str code#3:W<i32> sender_id#4:str username#5:str content#6:str create_time#7:ts"
        " update_time#8:ts persistent#9:W<bool> room_name#10:str group_id#11:str user_id_one#12:str user_id_two#13:str"
    ),
    ("channel_message_ack", 6): (
        "channel_id#1:str message_id#2:str code#3:W<i32> username#4:str create_time#5:ts update_time#6:ts"
        " persistent#7:W<bool> room_name#8:str group_id#9:str user_id_one#10:str user_id_two#11:str"
    ),
    ("channel_message_send", 7): "channel_id#1:str content#2:str",
    ("channel_message_update", 8): "channel_id#1:str message_id#2:str content#3:str",
    ("channel_message_remove", 9): "channel_id#1:str message_id#2:str",
    ("channel_presence_event", 10): (
        "channel_id#1:str joins#2:[]UserPresence leaves#3:[]UserPresence room_name#4:str group_id#5:str"
        " user_id_one#6:str user_id_two#7:str"
    ),
    ("error", 11): "code#1:i32 message#2:str context#3:map<str,str>",
    ("match", 12): (
        "match_id#1:str authoritative#2:bool label#3:W<str> size#4:i32 presences#5:[]UserPresence self#6:UserPresence"
    ),
    ("match_create", 13): "name#1:str",
    ("match_data", 14): "match_id#1:str presence#2:UserPresence op_code#3:i64 data#4:bytes reliable#5:bool",
    ("match_data_send", 15): "match_id#1:str op_code#2:i64 data#3:bytes presences#4:[]UserPresence reliable#5:bool",
    ("match_join", 16): "match_id#1:str|oneof token#2:str|oneof metadata#3:map<str,str>",
    ("match_leave", 17): "match_id#1:str",
    ("match_presence_event", 18): "match_id#1:str joins#2:[]UserPresence leaves#3:[]UserPresence",
    ("matchmaker_add", 19): (
        "min_count#1:i32 max_count#2:i32 query#3:str string_properties#4:map<str,str>"
        " numeric_properties#5:map<str,f64> count_multiple#6:W<i32>"
    ),
    ("matchmaker_matched", 20): (
        "ticket#1:str match_id#2:str|oneof token#3:str|oneof users#4:[]MatchmakerUser self#5:MatchmakerUser"
    ),
    ("matchmaker_remove", 21): "ticket#1:str",
    ("matchmaker_ticket", 22): "ticket#1:str",
    ("notifications", 23): "notifications#1:[]Notification",
    ("rpc", 24): "id#1:str payload#2:str http_key#3:str",
    ("status", 25): "presences#1:[]UserPresence",
    ("status_follow", 26): "user_ids#1:[]str usernames#2:[]str",
    ("status_presence_event", 27): "joins#2:[]UserPresence leaves#3:[]UserPresence",
    ("status_unfollow", 28): "user_ids#1:[]str",
    ("status_update", 29): "status#1:W<str>",
    ("stream_data", 30): "stream#1:Stream sender#2:UserPresence data#3:str reliable#4:bool",
    ("stream_presence_event", 31): "stream#1:Stream joins#2:[]UserPresence leaves#3:[]UserPresence",
    ("ping", 32): "",
    ("pong", 33): "",
    ("party", 34): (
        "party_id#1:str open#2:bool hidden#3:bool max_size#4:i32 self#5:UserPresence leader#6:UserPresence"
        " presences#7:[]UserPresence label#8:str"
    ),
    ("party_create", 35): "open#1:bool max_size#2:i32 label#3:str hidden#4:bool",
    ("party_join", 36): "party_id#1:str",
    ("party_leave", 37): "party_id#1:str",
    ("party_promote", 38): "party_id#1:str presence#2:UserPresence",
    ("party_leader", 39): "party_id#1:str presence#2:UserPresence",
    ("party_accept", 40): "party_id#1:str presence#2:UserPresence",
    ("party_remove", 41): "party_id#1:str presence#2:UserPresence",
    ("party_close", 42): "party_id#1:str",
    ("party_join_request_list", 43): "party_id#1:str",
    ("party_join_request", 44): "party_id#1:str presences#2:[]UserPresence",
    ("party_matchmaker_add", 45): (
        "party_id#1:str min_count#2:i32 max_count#3:i32 query#4:str string_properties#5:map<str,str>"
        " numeric_properties#6:map<str,f64> count_multiple#7:W<i32>"
    ),
    ("party_matchmaker_remove", 46): "party_id#1:str ticket#2:str",
    ("party_matchmaker_ticket", 47): "party_id#1:str ticket#2:str",
    ("party_data", 48): "party_id#1:str presence#2:UserPresence op_code#3:i64 data#4:bytes",
    ("party_data_send", 49): "party_id#1:str op_code#2:i64 data#3:bytes",
    ("party_presence_event", 50): "party_id#1:str joins#2:[]UserPresence leaves#3:[]UserPresence",
    ("party_update", 51): "party_id#1:str label#2:str open#3:bool hidden#4:bool",
}
"""The members of an envelope: name and number, and the fields of what it holds."""

LEGACY_PARTY = (
    "party_id#1:str open#2:bool max_size#3:i32 self#4:UserPresence leader#5:UserPresence presences#6:[]UserPresence"
)
"""`party` as clients older than `hidden` and `label` know it. No bytes mean the same to both."""

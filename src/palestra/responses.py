"""The answers that hooks receive, by the operation they belong to: types for `@game.after`.

They bear the names of their requests in `palestra.requests`. An operation that answers nothing gives `Empty`.
"""

from __future__ import annotations

from palestra.features.accounts.contract import AccountExport as AccountsExport
from palestra.features.accounts.wire import AccountWire as AccountsGet
from palestra.features.accounts.wire import UsersWire as UsersGet
from palestra.features.chat.wire import Channel as ChatJoin
from palestra.features.chat.wire import ChannelMessageAck as ChatRemove
from palestra.features.chat.wire import ChannelMessageAck as ChatSend
from palestra.features.chat.wire import ChannelMessageAck as ChatUpdate
from palestra.features.chat.wire import ChannelMessageList as ChatList
from palestra.features.fair.contract import HistoryPage as FairHistory
from palestra.features.fair.contract import Rotation as FairRotate
from palestra.features.fair.contract import SeedPair as FairSeeds
from palestra.features.fair.contract import Verification as FairVerify
from palestra.features.friends.wire import FriendList as FriendsList
from palestra.features.friends.wire import FriendsOfFriendsList as FriendsListOfFriends
from palestra.features.groups.wire import Group as GroupsCreate
from palestra.features.groups.wire import GroupList as GroupsList
from palestra.features.groups.wire import GroupUserList as GroupsListUsers
from palestra.features.groups.wire import UserGroupList as GroupsListOfUser
from palestra.features.leaderboards.tournament_wire import TournamentList as TournamentsList
from palestra.features.leaderboards.wire import Record as LeaderboardsSubmit
from palestra.features.leaderboards.wire import Record as TournamentsSubmit
from palestra.features.leaderboards.wire import RecordList as LeaderboardsAround
from palestra.features.leaderboards.wire import RecordList as LeaderboardsList
from palestra.features.leaderboards.wire import RecordList as TournamentsAround
from palestra.features.leaderboards.wire import RecordList as TournamentsRecords
from palestra.features.limits.wire import Limits as LimitsGet
from palestra.features.limits.wire import Limits as LimitsLock
from palestra.features.limits.wire import Limits as LimitsSet
from palestra.features.matches.wire import Match as MatchesCreate
from palestra.features.matches.wire import Match as MatchesJoin
from palestra.features.matches.wire import MatchList as MatchesList
from palestra.features.matchmaker.wire import MatchmakerStats
from palestra.features.matchmaker.wire import MatchmakerTicket as MatchmakerAdd
from palestra.features.matchmaker.wire import Waiting as MatchmakerExplain
from palestra.features.notifications.wire import NotificationList as NotificationsList
from palestra.features.parties.wire import PartyJoinRequest as PartiesListRequests
from palestra.features.parties.wire import PartyList as PartiesList
from palestra.features.parties.wire import PartyState as PartiesCreate
from palestra.features.parties.wire import PartyTicket as PartiesMatchmakerAdd
from palestra.features.purchases.wire import SubscriptionAnswer as PurchasesValidateSubscriptionApple
from palestra.features.purchases.wire import SubscriptionAnswer as PurchasesValidateSubscriptionGoogle
from palestra.features.purchases.wire import SubscriptionList as PurchasesListSubscriptions
from palestra.features.purchases.wire import ValidatedPurchases as PurchasesValidateApple
from palestra.features.purchases.wire import ValidatedPurchases as PurchasesValidateFacebookInstant
from palestra.features.purchases.wire import ValidatedPurchases as PurchasesValidateGoogle
from palestra.features.purchases.wire import ValidatedPurchases as PurchasesValidateHuawei
from palestra.features.purchases.wire import ValidatedPurchases as PurchasesValidateSamsung
from palestra.features.purchases.wire import ValidatedSubscription as PurchasesGetSubscription
from palestra.features.rounds.wire import Round as RoundsGet
from palestra.features.rounds.wire import RoundList as RoundsList
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateApple
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateCustom
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateDevice
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateEmail
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateFacebook
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateFacebookInstant
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateGamecenter
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateGoogle
from palestra.features.sessions.contract import SessionWire as AccountsAuthenticateSteam
from palestra.features.sessions.contract import SessionWire as SessionsRefresh
from palestra.features.status.wire import Status as StatusFollow
from palestra.features.storage.wire import Acks as StorageWrite
from palestra.features.storage.wire import ObjectList as StorageList
from palestra.features.storage.wire import Objects as StorageRead
from palestra.gateway.operation import Empty as AccountsDelete
from palestra.gateway.operation import Empty as AccountsLinkApple
from palestra.gateway.operation import Empty as AccountsLinkCustom
from palestra.gateway.operation import Empty as AccountsLinkDevice
from palestra.gateway.operation import Empty as AccountsLinkEmail
from palestra.gateway.operation import Empty as AccountsLinkFacebook
from palestra.gateway.operation import Empty as AccountsLinkFacebookInstant
from palestra.gateway.operation import Empty as AccountsLinkGamecenter
from palestra.gateway.operation import Empty as AccountsLinkGoogle
from palestra.gateway.operation import Empty as AccountsLinkSteam
from palestra.gateway.operation import Empty as AccountsUnlinkApple
from palestra.gateway.operation import Empty as AccountsUnlinkCustom
from palestra.gateway.operation import Empty as AccountsUnlinkDevice
from palestra.gateway.operation import Empty as AccountsUnlinkEmail
from palestra.gateway.operation import Empty as AccountsUnlinkFacebook
from palestra.gateway.operation import Empty as AccountsUnlinkFacebookInstant
from palestra.gateway.operation import Empty as AccountsUnlinkGamecenter
from palestra.gateway.operation import Empty as AccountsUnlinkGoogle
from palestra.gateway.operation import Empty as AccountsUnlinkSteam
from palestra.gateway.operation import Empty as AccountsUpdate
from palestra.gateway.operation import Empty as ChatLeave
from palestra.gateway.operation import Empty as EventsSend
from palestra.gateway.operation import Empty as FriendsAdd
from palestra.gateway.operation import Empty as FriendsBlock
from palestra.gateway.operation import Empty as FriendsDelete
from palestra.gateway.operation import Empty as FriendsImportFacebook
from palestra.gateway.operation import Empty as FriendsImportSteam
from palestra.gateway.operation import Empty as GroupsAddUsers
from palestra.gateway.operation import Empty as GroupsBanUsers
from palestra.gateway.operation import Empty as GroupsDelete
from palestra.gateway.operation import Empty as GroupsDemoteUsers
from palestra.gateway.operation import Empty as GroupsJoin
from palestra.gateway.operation import Empty as GroupsKickUsers
from palestra.gateway.operation import Empty as GroupsLeave
from palestra.gateway.operation import Empty as GroupsPromoteUsers
from palestra.gateway.operation import Empty as GroupsUpdate
from palestra.gateway.operation import Empty as LeaderboardsDeleteRecord
from palestra.gateway.operation import Empty as MatchesLeave
from palestra.gateway.operation import Empty as MatchesSend
from palestra.gateway.operation import Empty as MatchmakerRemove
from palestra.gateway.operation import Empty as NotificationsDelete
from palestra.gateway.operation import Empty as PartiesAccept
from palestra.gateway.operation import Empty as PartiesClose
from palestra.gateway.operation import Empty as PartiesJoin
from palestra.gateway.operation import Empty as PartiesLeave
from palestra.gateway.operation import Empty as PartiesMatchmakerRemove
from palestra.gateway.operation import Empty as PartiesPromote
from palestra.gateway.operation import Empty as PartiesRemove
from palestra.gateway.operation import Empty as PartiesSend
from palestra.gateway.operation import Empty as PartiesUpdate
from palestra.gateway.operation import Empty as SessionsLogout
from palestra.gateway.operation import Empty as StatusUnfollow
from palestra.gateway.operation import Empty as StatusUpdate
from palestra.gateway.operation import Empty as StorageDelete
from palestra.gateway.operation import Empty as TournamentsDeleteRecord
from palestra.gateway.operation import Empty as TournamentsJoin

__all__ = [
    "AccountsAuthenticateApple",
    "AccountsAuthenticateCustom",
    "AccountsAuthenticateDevice",
    "AccountsAuthenticateEmail",
    "AccountsAuthenticateFacebook",
    "AccountsAuthenticateFacebookInstant",
    "AccountsAuthenticateGamecenter",
    "AccountsAuthenticateGoogle",
    "AccountsAuthenticateSteam",
    "AccountsDelete",
    "AccountsExport",
    "AccountsGet",
    "AccountsLinkApple",
    "AccountsLinkCustom",
    "AccountsLinkDevice",
    "AccountsLinkEmail",
    "AccountsLinkFacebook",
    "AccountsLinkFacebookInstant",
    "AccountsLinkGamecenter",
    "AccountsLinkGoogle",
    "AccountsLinkSteam",
    "AccountsUnlinkApple",
    "AccountsUnlinkCustom",
    "AccountsUnlinkDevice",
    "AccountsUnlinkEmail",
    "AccountsUnlinkFacebook",
    "AccountsUnlinkFacebookInstant",
    "AccountsUnlinkGamecenter",
    "AccountsUnlinkGoogle",
    "AccountsUnlinkSteam",
    "AccountsUpdate",
    "ChatJoin",
    "ChatLeave",
    "ChatList",
    "ChatRemove",
    "ChatSend",
    "ChatUpdate",
    "EventsSend",
    "FairHistory",
    "FairRotate",
    "FairSeeds",
    "FairVerify",
    "FriendsAdd",
    "FriendsBlock",
    "FriendsDelete",
    "FriendsImportFacebook",
    "FriendsImportSteam",
    "FriendsList",
    "FriendsListOfFriends",
    "GroupsAddUsers",
    "GroupsBanUsers",
    "GroupsCreate",
    "GroupsDelete",
    "GroupsDemoteUsers",
    "GroupsJoin",
    "GroupsKickUsers",
    "GroupsLeave",
    "GroupsList",
    "GroupsListOfUser",
    "GroupsListUsers",
    "GroupsPromoteUsers",
    "GroupsUpdate",
    "LeaderboardsAround",
    "LeaderboardsDeleteRecord",
    "LeaderboardsList",
    "LeaderboardsSubmit",
    "LimitsGet",
    "LimitsLock",
    "LimitsSet",
    "MatchesCreate",
    "MatchesJoin",
    "MatchesLeave",
    "MatchesList",
    "MatchesSend",
    "MatchmakerAdd",
    "MatchmakerExplain",
    "MatchmakerRemove",
    "MatchmakerStats",
    "NotificationsDelete",
    "NotificationsList",
    "PartiesAccept",
    "PartiesClose",
    "PartiesCreate",
    "PartiesJoin",
    "PartiesLeave",
    "PartiesList",
    "PartiesListRequests",
    "PartiesMatchmakerAdd",
    "PartiesMatchmakerRemove",
    "PartiesPromote",
    "PartiesRemove",
    "PartiesSend",
    "PartiesUpdate",
    "PurchasesGetSubscription",
    "PurchasesListSubscriptions",
    "PurchasesValidateApple",
    "PurchasesValidateFacebookInstant",
    "PurchasesValidateGoogle",
    "PurchasesValidateHuawei",
    "PurchasesValidateSamsung",
    "PurchasesValidateSubscriptionApple",
    "PurchasesValidateSubscriptionGoogle",
    "RoundsGet",
    "RoundsList",
    "SessionsLogout",
    "SessionsRefresh",
    "StatusFollow",
    "StatusUnfollow",
    "StatusUpdate",
    "StorageDelete",
    "StorageList",
    "StorageRead",
    "StorageWrite",
    "TournamentsAround",
    "TournamentsDeleteRecord",
    "TournamentsJoin",
    "TournamentsList",
    "TournamentsRecords",
    "TournamentsSubmit",
    "UsersGet",
]

"""The requests that hooks receive, by the operation they belong to: types for `@game.before` and `@game.after`.

`storage.write` is `StorageWrite`, `leaderboards.submit` is `LeaderboardsSubmit`, and so on; operations that share a
request share its type under each name.
"""

from __future__ import annotations

from palestra.features.accounts.wire import AuthenticateEmail as AccountsAuthenticateEmail
from palestra.features.accounts.wire import AuthenticateGameCenter as AccountsAuthenticateGamecenter
from palestra.features.accounts.wire import AuthenticateId as AccountsAuthenticateCustom
from palestra.features.accounts.wire import AuthenticateId as AccountsAuthenticateDevice
from palestra.features.accounts.wire import AuthenticateInstantGame as AccountsAuthenticateFacebookInstant
from palestra.features.accounts.wire import AuthenticateToken as AccountsAuthenticateApple
from palestra.features.accounts.wire import AuthenticateToken as AccountsAuthenticateFacebook
from palestra.features.accounts.wire import AuthenticateToken as AccountsAuthenticateGoogle
from palestra.features.accounts.wire import AuthenticateToken as AccountsAuthenticateSteam
from palestra.features.accounts.wire import EmailAccount as AccountsLinkEmail
from palestra.features.accounts.wire import EmailAccount as AccountsUnlinkEmail
from palestra.features.accounts.wire import GameCenterAccount as AccountsLinkGamecenter
from palestra.features.accounts.wire import GameCenterAccount as AccountsUnlinkGamecenter
from palestra.features.accounts.wire import IdAccount as AccountsLinkCustom
from palestra.features.accounts.wire import IdAccount as AccountsLinkDevice
from palestra.features.accounts.wire import IdAccount as AccountsUnlinkCustom
from palestra.features.accounts.wire import IdAccount as AccountsUnlinkDevice
from palestra.features.accounts.wire import InstantGameAccount as AccountsLinkFacebookInstant
from palestra.features.accounts.wire import InstantGameAccount as AccountsUnlinkFacebookInstant
from palestra.features.accounts.wire import LinkFacebook as AccountsLinkFacebook
from palestra.features.accounts.wire import LinkSteam as AccountsLinkSteam
from palestra.features.accounts.wire import TokenAccount as AccountsLinkApple
from palestra.features.accounts.wire import TokenAccount as AccountsLinkGoogle
from palestra.features.accounts.wire import TokenAccount as AccountsUnlinkApple
from palestra.features.accounts.wire import TokenAccount as AccountsUnlinkFacebook
from palestra.features.accounts.wire import TokenAccount as AccountsUnlinkGoogle
from palestra.features.accounts.wire import TokenAccount as AccountsUnlinkSteam
from palestra.features.accounts.wire import UpdateRequest as AccountsUpdate
from palestra.features.accounts.wire import UsersRequest as UsersGet
from palestra.features.chat.wire import ChannelJoin as ChatJoin
from palestra.features.chat.wire import ChannelLeave as ChatLeave
from palestra.features.chat.wire import ChannelMessageRemove as ChatRemove
from palestra.features.chat.wire import ChannelMessageSend as ChatSend
from palestra.features.chat.wire import ChannelMessageUpdate as ChatUpdate
from palestra.features.chat.wire import ListRequest as ChatList
from palestra.features.events.wire import EventRequest as EventsSend
from palestra.features.fair.wire import HistoryRequest as FairHistory
from palestra.features.fair.wire import RotateRequest as FairRotate
from palestra.features.fair.wire import VerifyRequest as FairVerify
from palestra.features.friends.wire import AddRequest as FriendsAdd
from palestra.features.friends.wire import FriendsOfFriendsRequest as FriendsListOfFriends
from palestra.features.friends.wire import ImportRequest as FriendsImportFacebook
from palestra.features.friends.wire import ImportRequest as FriendsImportSteam
from palestra.features.friends.wire import ListRequest as FriendsList
from palestra.features.friends.wire import NamedRequest as FriendsBlock
from palestra.features.friends.wire import NamedRequest as FriendsDelete
from palestra.features.groups.wire import CreateRequest as GroupsCreate
from palestra.features.groups.wire import GroupRequest as GroupsDelete
from palestra.features.groups.wire import GroupRequest as GroupsJoin
from palestra.features.groups.wire import GroupRequest as GroupsLeave
from palestra.features.groups.wire import ListOfUserRequest as GroupsListOfUser
from palestra.features.groups.wire import ListRequest as GroupsList
from palestra.features.groups.wire import ListUsersRequest as GroupsListUsers
from palestra.features.groups.wire import UpdateRequest as GroupsUpdate
from palestra.features.groups.wire import UsersRequest as GroupsAddUsers
from palestra.features.groups.wire import UsersRequest as GroupsBanUsers
from palestra.features.groups.wire import UsersRequest as GroupsDemoteUsers
from palestra.features.groups.wire import UsersRequest as GroupsKickUsers
from palestra.features.groups.wire import UsersRequest as GroupsPromoteUsers
from palestra.features.leaderboards.tournament_wire import AroundRequest as TournamentsAround
from palestra.features.leaderboards.tournament_wire import ListRequest as TournamentsList
from palestra.features.leaderboards.tournament_wire import RecordsRequest as TournamentsRecords
from palestra.features.leaderboards.tournament_wire import SubmitRequest as TournamentsSubmit
from palestra.features.leaderboards.tournament_wire import TournamentRequest as TournamentsDeleteRecord
from palestra.features.leaderboards.tournament_wire import TournamentRequest as TournamentsJoin
from palestra.features.leaderboards.wire import AroundRequest as LeaderboardsAround
from palestra.features.leaderboards.wire import DeleteRequest as LeaderboardsDeleteRecord
from palestra.features.leaderboards.wire import ListRequest as LeaderboardsList
from palestra.features.leaderboards.wire import SubmitRequest as LeaderboardsSubmit
from palestra.features.limits.wire import LockRequest as LimitsLock
from palestra.features.limits.wire import SetRequest as LimitsSet
from palestra.features.matches.wire import ListMatches as MatchesList
from palestra.features.matches.wire import MatchCreate as MatchesCreate
from palestra.features.matches.wire import MatchDataSend as MatchesSend
from palestra.features.matches.wire import MatchJoin as MatchesJoin
from palestra.features.matches.wire import MatchLeave as MatchesLeave
from palestra.features.matchmaker.wire import MatchmakerAdd, MatchmakerRemove
from palestra.features.matchmaker.wire import TicketRequest as MatchmakerExplain
from palestra.features.notifications.wire import DeleteRequest as NotificationsDelete
from palestra.features.notifications.wire import ListRequest as NotificationsList
from palestra.features.parties.wire import ListParties as PartiesList
from palestra.features.parties.wire import PartyCreate as PartiesCreate
from palestra.features.parties.wire import PartyDataSend as PartiesSend
from palestra.features.parties.wire import PartyMatchmakerAdd as PartiesMatchmakerAdd
from palestra.features.parties.wire import PartyMatchmakerRemove as PartiesMatchmakerRemove
from palestra.features.parties.wire import PartyNamed as PartiesClose
from palestra.features.parties.wire import PartyNamed as PartiesJoin
from palestra.features.parties.wire import PartyNamed as PartiesLeave
from palestra.features.parties.wire import PartyNamed as PartiesListRequests
from palestra.features.parties.wire import PartyTarget as PartiesAccept
from palestra.features.parties.wire import PartyTarget as PartiesPromote
from palestra.features.parties.wire import PartyTarget as PartiesRemove
from palestra.features.parties.wire import PartyUpdate as PartiesUpdate
from palestra.features.purchases.wire import AppleReceipt as PurchasesValidateApple
from palestra.features.purchases.wire import AppleReceipt as PurchasesValidateSubscriptionApple
from palestra.features.purchases.wire import GooglePurchase as PurchasesValidateGoogle
from palestra.features.purchases.wire import GoogleReceipt as PurchasesValidateSubscriptionGoogle
from palestra.features.purchases.wire import HuaweiPurchase as PurchasesValidateHuawei
from palestra.features.purchases.wire import InstantPurchase as PurchasesValidateFacebookInstant
from palestra.features.purchases.wire import SamsungPurchase as PurchasesValidateSamsung
from palestra.features.purchases.wire import SubscriptionRequest as PurchasesGetSubscription
from palestra.features.purchases.wire import SubscriptionsRequest as PurchasesListSubscriptions
from palestra.features.rounds.wire import GetRequest as RoundsGet
from palestra.features.rounds.wire import ListRequest as RoundsList
from palestra.features.sessions.wire import LogoutRequest as SessionsLogout
from palestra.features.sessions.wire import RefreshRequest as SessionsRefresh
from palestra.features.status.wire import StatusFollow, StatusUnfollow, StatusUpdate
from palestra.features.storage.wire import DeleteRequest as StorageDelete
from palestra.features.storage.wire import ListRequest as StorageList
from palestra.features.storage.wire import ReadRequest as StorageRead
from palestra.features.storage.wire import WriteRequest as StorageWrite
from palestra.gateway.operation import Empty as AccountsDelete
from palestra.gateway.operation import Empty as AccountsExport
from palestra.gateway.operation import Empty as AccountsGet
from palestra.gateway.operation import Empty as FairSeeds
from palestra.gateway.operation import Empty as LimitsGet
from palestra.gateway.operation import Empty as MatchmakerStats

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

/** Op codes of match data that state sync uses. A match with a synchronised state leaves them alone. */
export declare const SNAPSHOT_OP: -1;
export declare const CHANGES_OP: -2;
export declare const ASK_OP: -3;

/** What `onmatchdata` of the client SDK is given. */
export interface MatchMessage {
  op_code: number;
  match_id: string;
  data: Uint8Array | ArrayBuffer | string;
}

/** The part of the SDK's socket that is used: to ask for a snapshot when a message was missed. */
export interface MatchSocket {
  sendMatchState(match_id: string, op_code: number, data: string): Promise<unknown>;
}

export interface StateSyncOptions<State> {
  socket?: MatchSocket;
  /** After each snapshot and each change. `before` is undefined at first. */
  onChange?: (state: State, before: State | undefined) => void;
  /** A message that cannot be read, or a format of a newer server. Without it, errors go to the console. */
  onError?: (error: unknown) => void;
}

/**
 * Follows the state of one match.
 *
 *     const sync = new StateSync<State>({ socket, onChange: (state) => draw(state) });
 *     socket.onmatchdata = (message) => sync.receive(message) || mine(message);
 */
export declare class StateSync<State = any> {
  constructor(options?: StateSyncOptions<State>);
  /** The state as it is now; undefined before the first snapshot. Never changed in place: what did not change, stays the same object. */
  readonly state: State | undefined;
  /** True if the message belonged to the state; others are for the game. */
  receive(message: MatchMessage): boolean;
}

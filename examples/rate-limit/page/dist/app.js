var __create = Object.create;
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __getProtoOf = Object.getPrototypeOf;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __esm = (fn, res, err) => function __init() {
  if (err) throw err[0];
  try {
    return fn && (res = (0, fn[__getOwnPropNames(fn)[0]])(fn = 0)), res;
  } catch (e) {
    throw err = [e], e;
  }
};
var __commonJS = (cb, mod) => function __require() {
  try {
    return mod || (0, cb[__getOwnPropNames(cb)[0]])((mod = { exports: {} }).exports, mod), mod.exports;
  } catch (e) {
    throw mod = 0, e;
  }
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toESM = (mod, isNodeMode, target) => (target = mod != null ? __create(__getProtoOf(mod)) : {}, __copyProps(
  // If the importer is in node compatibility mode or this is not an ESM
  // file that has been converted to a CommonJS file using a Babel-
  // compatible transform (i.e. "__esModule" has not been set), then set
  // "default" to the CommonJS "module.exports" for node compatibility.
  isNodeMode || !mod || !mod.__esModule ? __defProp(target, "default", { value: mod, enumerable: true }) : target,
  mod
));
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// page/node_modules/@eleven-am/pondsocket-common/subjects/subject.js
var require_subject = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/subjects/subject.js"(exports) {
    "use strict";
    var __classPrivateFieldSet = exports && exports.__classPrivateFieldSet || function(receiver, state, value, kind, f) {
      if (kind === "m") throw new TypeError("Private method is not writable");
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a setter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot write private member to an object whose class did not declare it");
      return kind === "a" ? f.call(receiver, value) : f ? f.value = value : state.set(receiver, value), value;
    };
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _Subject_isClosed;
    var _Subject_observers;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.Subject = void 0;
    var Subject = class {
      constructor() {
        _Subject_isClosed.set(this, void 0);
        _Subject_observers.set(this, void 0);
        __classPrivateFieldSet(this, _Subject_isClosed, false, "f");
        __classPrivateFieldSet(this, _Subject_observers, /* @__PURE__ */ new Set(), "f");
      }
      /**
       * @desc Returns the number of subscribers
       */
      get size() {
        return __classPrivateFieldGet(this, _Subject_observers, "f").size;
      }
      /**
       * @desc Subscribes to a subject
       * @param observer - The observer to subscribe
       */
      subscribe(observer) {
        if (__classPrivateFieldGet(this, _Subject_isClosed, "f")) {
          throw new Error("Cannot subscribe to a closed subject");
        }
        __classPrivateFieldGet(this, _Subject_observers, "f").add(observer);
        return () => __classPrivateFieldGet(this, _Subject_observers, "f").delete(observer);
      }
      /**
       * @desc Publishes a message to all subscribers
       * @param message - The message to publish
       */
      publish(message) {
        __classPrivateFieldGet(this, _Subject_observers, "f").forEach((observer) => observer(message));
      }
      /**
       * @desc Closes the subject
       */
      close() {
        __classPrivateFieldGet(this, _Subject_observers, "f").clear();
        __classPrivateFieldSet(this, _Subject_isClosed, true, "f");
      }
    };
    exports.Subject = Subject;
    _Subject_isClosed = /* @__PURE__ */ new WeakMap(), _Subject_observers = /* @__PURE__ */ new WeakMap();
  }
});

// page/node_modules/@eleven-am/pondsocket-common/subjects/behaviorSubject.js
var require_behaviorSubject = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/subjects/behaviorSubject.js"(exports) {
    "use strict";
    var __classPrivateFieldSet = exports && exports.__classPrivateFieldSet || function(receiver, state, value, kind, f) {
      if (kind === "m") throw new TypeError("Private method is not writable");
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a setter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot write private member to an object whose class did not declare it");
      return kind === "a" ? f.call(receiver, value) : f ? f.value = value : state.set(receiver, value), value;
    };
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _BehaviorSubject_lastMessage;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.BehaviorSubject = void 0;
    var subject_1 = require_subject();
    var BehaviorSubject = class extends subject_1.Subject {
      constructor(initialValue) {
        super();
        _BehaviorSubject_lastMessage.set(this, void 0);
        __classPrivateFieldSet(this, _BehaviorSubject_lastMessage, initialValue, "f");
      }
      /**
       * @desc Returns the last message published
       */
      get value() {
        return __classPrivateFieldGet(this, _BehaviorSubject_lastMessage, "f");
      }
      /**
       * @desc Publishes a message to all subscribers
       * @param message - The message to publish
       */
      publish(message) {
        __classPrivateFieldSet(this, _BehaviorSubject_lastMessage, message, "f");
        super.publish(message);
      }
      /**
       * @desc Subscribes to a subject
       * @param observer - The observer to subscribe
       */
      subscribe(observer) {
        if (__classPrivateFieldGet(this, _BehaviorSubject_lastMessage, "f")) {
          observer(__classPrivateFieldGet(this, _BehaviorSubject_lastMessage, "f"));
        }
        return super.subscribe(observer);
      }
    };
    exports.BehaviorSubject = BehaviorSubject;
    _BehaviorSubject_lastMessage = /* @__PURE__ */ new WeakMap();
  }
});

// page/node_modules/@eleven-am/pondsocket-common/subjects/index.js
var require_subjects = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/subjects/index.js"(exports) {
    "use strict";
    var __createBinding = exports && exports.__createBinding || (Object.create ? (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      var desc = Object.getOwnPropertyDescriptor(m, k);
      if (!desc || ("get" in desc ? !m.__esModule : desc.writable || desc.configurable)) {
        desc = { enumerable: true, get: function() {
          return m[k];
        } };
      }
      Object.defineProperty(o, k2, desc);
    }) : (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      o[k2] = m[k];
    }));
    var __exportStar = exports && exports.__exportStar || function(m, exports2) {
      for (var p in m) if (p !== "default" && !Object.prototype.hasOwnProperty.call(exports2, p)) __createBinding(exports2, m, p);
    };
    Object.defineProperty(exports, "__esModule", { value: true });
    __exportStar(require_behaviorSubject(), exports);
    __exportStar(require_subject(), exports);
  }
});

// page/node_modules/@eleven-am/pondsocket-common/enums.js
var require_enums = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/enums.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.PubSubEvents = exports.Events = exports.ChannelReceiver = exports.SystemSender = exports.ErrorTypes = exports.ChannelState = exports.ClientActions = exports.ServerActions = exports.PresenceEventTypes = void 0;
    var PresenceEventTypes;
    (function(PresenceEventTypes2) {
      PresenceEventTypes2["JOIN"] = "JOIN";
      PresenceEventTypes2["LEAVE"] = "LEAVE";
      PresenceEventTypes2["UPDATE"] = "UPDATE";
    })(PresenceEventTypes || (exports.PresenceEventTypes = PresenceEventTypes = {}));
    var ServerActions;
    (function(ServerActions2) {
      ServerActions2["PRESENCE"] = "PRESENCE";
      ServerActions2["SYSTEM"] = "SYSTEM";
      ServerActions2["BROADCAST"] = "BROADCAST";
      ServerActions2["ERROR"] = "ERROR";
      ServerActions2["CONNECT"] = "CONNECT";
    })(ServerActions || (exports.ServerActions = ServerActions = {}));
    var ClientActions;
    (function(ClientActions2) {
      ClientActions2["JOIN_CHANNEL"] = "JOIN_CHANNEL";
      ClientActions2["LEAVE_CHANNEL"] = "LEAVE_CHANNEL";
      ClientActions2["BROADCAST"] = "BROADCAST";
    })(ClientActions || (exports.ClientActions = ClientActions = {}));
    var ChannelState;
    (function(ChannelState2) {
      ChannelState2["IDLE"] = "IDLE";
      ChannelState2["JOINING"] = "JOINING";
      ChannelState2["JOINED"] = "JOINED";
      ChannelState2["STALLED"] = "STALLED";
      ChannelState2["CLOSED"] = "CLOSED";
      ChannelState2["DECLINED"] = "DECLINED";
    })(ChannelState || (exports.ChannelState = ChannelState = {}));
    var ErrorTypes;
    (function(ErrorTypes2) {
      ErrorTypes2["UNAUTHORIZED_CONNECTION"] = "UNAUTHORIZED_CONNECTION";
      ErrorTypes2["UNAUTHORIZED_JOIN_REQUEST"] = "UNAUTHORIZED_JOIN_REQUEST";
      ErrorTypes2["UNAUTHORIZED_BROADCAST"] = "UNAUTHORIZED_BROADCAST";
      ErrorTypes2["INVALID_MESSAGE"] = "INVALID_MESSAGE";
      ErrorTypes2["HANDLER_NOT_FOUND"] = "HANDLER_NOT_FOUND";
      ErrorTypes2["PRESENCE_ERROR"] = "PRESENCE_ERROR";
      ErrorTypes2["CHANNEL_ERROR"] = "CHANNEL_ERROR";
      ErrorTypes2["ENDPOINT_ERROR"] = "ENDPOINT_ERROR";
      ErrorTypes2["INTERNAL_SERVER_ERROR"] = "INTERNAL_SERVER_ERROR";
    })(ErrorTypes || (exports.ErrorTypes = ErrorTypes = {}));
    var SystemSender;
    (function(SystemSender2) {
      SystemSender2["ENDPOINT"] = "ENDPOINT";
      SystemSender2["CHANNEL"] = "CHANNEL";
    })(SystemSender || (exports.SystemSender = SystemSender = {}));
    var ChannelReceiver;
    (function(ChannelReceiver2) {
      ChannelReceiver2["ALL_USERS"] = "ALL_USERS";
      ChannelReceiver2["ALL_EXCEPT_SENDER"] = "ALL_EXCEPT_SENDER";
    })(ChannelReceiver || (exports.ChannelReceiver = ChannelReceiver = {}));
    var Events;
    (function(Events2) {
      Events2["ACKNOWLEDGE"] = "ACKNOWLEDGE";
      Events2["CONNECTION"] = "CONNECTION";
      Events2["UNAUTHORIZED"] = "UNAUTHORIZED";
    })(Events || (exports.Events = Events = {}));
    var PubSubEvents;
    (function(PubSubEvents2) {
      PubSubEvents2["MESSAGE"] = "MESSAGE";
      PubSubEvents2["PRESENCE"] = "PRESENCE";
      PubSubEvents2["GET_PRESENCE"] = "GET_PRESENCE";
    })(PubSubEvents || (exports.PubSubEvents = PubSubEvents = {}));
  }
});

// page/node_modules/@eleven-am/pondsocket-common/misc/uuid.js
var require_uuid = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/misc/uuid.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.uuid = uuid;
    function uuid() {
      return "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(/[xy]/g, (c) => {
        const r = Math.random() * 16 | 0;
        const v = c === "x" ? r : r & 3 | 8;
        return v.toString(16);
      });
    }
  }
});

// page/node_modules/@eleven-am/pondsocket-common/misc/types.js
var require_types = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/misc/types.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
  }
});

// page/node_modules/@eleven-am/pondsocket-common/misc/index.js
var require_misc = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/misc/index.js"(exports) {
    "use strict";
    var __createBinding = exports && exports.__createBinding || (Object.create ? (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      var desc = Object.getOwnPropertyDescriptor(m, k);
      if (!desc || ("get" in desc ? !m.__esModule : desc.writable || desc.configurable)) {
        desc = { enumerable: true, get: function() {
          return m[k];
        } };
      }
      Object.defineProperty(o, k2, desc);
    }) : (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      o[k2] = m[k];
    }));
    var __exportStar = exports && exports.__exportStar || function(m, exports2) {
      for (var p in m) if (p !== "default" && !Object.prototype.hasOwnProperty.call(exports2, p)) __createBinding(exports2, m, p);
    };
    Object.defineProperty(exports, "__esModule", { value: true });
    __exportStar(require_uuid(), exports);
    __exportStar(require_types(), exports);
  }
});

// page/node_modules/@eleven-am/pondsocket-common/schema.js
var require_schema = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/schema.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.channelEventSchema = exports.serverMessageSchema = exports.presenceMessageSchema = exports.clientMessageSchema = exports.ValidationError = void 0;
    var enums_1 = require_enums();
    var ValidationError = class extends Error {
      constructor(message, path) {
        super(path ? `${path}: ${message}` : message);
        this.path = path;
        this.name = "ValidationError";
      }
    };
    exports.ValidationError = ValidationError;
    function isObject(value) {
      return typeof value === "object" && value !== null && !Array.isArray(value);
    }
    function isString(value) {
      return typeof value === "string";
    }
    function isArray(value) {
      return Array.isArray(value);
    }
    function isRecord(value) {
      if (!isObject(value)) {
        return false;
      }
      return Object.keys(value).every((key) => typeof key === "string");
    }
    function validateString(value, fieldName) {
      if (!isString(value)) {
        throw new ValidationError(`Expected string, got ${typeof value}`, fieldName);
      }
    }
    function validateObject(value, fieldName) {
      if (!isObject(value)) {
        throw new ValidationError(`Expected object, got ${typeof value}`, fieldName);
      }
    }
    function validateRecord(value, fieldName) {
      if (!isRecord(value)) {
        throw new ValidationError(`Expected record with string keys, got ${typeof value}`, fieldName);
      }
    }
    function validateArray(value, fieldName) {
      if (!isArray(value)) {
        throw new ValidationError(`Expected array, got ${typeof value}`, fieldName);
      }
    }
    function validateEnum(value, enumObj, fieldName) {
      const validValues = Object.values(enumObj);
      if (!validValues.includes(value)) {
        throw new ValidationError(`Expected one of [${validValues.join(", ")}], got ${JSON.stringify(value)}`, fieldName);
      }
    }
    exports.clientMessageSchema = {
      parse(data) {
        validateObject(data, "clientMessage");
        const obj = data;
        if (!("event" in obj)) {
          throw new ValidationError("Missing required field", "event");
        }
        if (!("requestId" in obj)) {
          throw new ValidationError("Missing required field", "requestId");
        }
        if (!("channelName" in obj)) {
          throw new ValidationError("Missing required field", "channelName");
        }
        if (!("payload" in obj)) {
          throw new ValidationError("Missing required field", "payload");
        }
        if (!("action" in obj)) {
          throw new ValidationError("Missing required field", "action");
        }
        validateString(obj.event, "event");
        validateString(obj.requestId, "requestId");
        validateString(obj.channelName, "channelName");
        validateRecord(obj.payload, "payload");
        validateEnum(obj.action, enums_1.ClientActions, "action");
        return {
          event: obj.event,
          requestId: obj.requestId,
          channelName: obj.channelName,
          payload: obj.payload,
          action: obj.action
        };
      }
    };
    exports.presenceMessageSchema = {
      parse(data) {
        validateObject(data, "presenceMessage");
        const obj = data;
        if (!("requestId" in obj)) {
          throw new ValidationError("Missing required field", "requestId");
        }
        if (!("channelName" in obj)) {
          throw new ValidationError("Missing required field", "channelName");
        }
        if (!("event" in obj)) {
          throw new ValidationError("Missing required field", "event");
        }
        if (!("action" in obj)) {
          throw new ValidationError("Missing required field", "action");
        }
        if (!("payload" in obj)) {
          throw new ValidationError("Missing required field", "payload");
        }
        validateString(obj.requestId, "requestId");
        validateString(obj.channelName, "channelName");
        validateEnum(obj.event, enums_1.PresenceEventTypes, "event");
        if (obj.action !== enums_1.ServerActions.PRESENCE) {
          throw new ValidationError(`Expected ${enums_1.ServerActions.PRESENCE}, got ${JSON.stringify(obj.action)}`, "action");
        }
        validateObject(obj.payload, "payload");
        const payload = obj.payload;
        if (!("presence" in payload)) {
          throw new ValidationError("Missing required field", "payload.presence");
        }
        if (!("changed" in payload)) {
          throw new ValidationError("Missing required field", "payload.changed");
        }
        validateArray(payload.presence, "payload.presence");
        payload.presence.forEach((item, index) => {
          validateRecord(item, `payload.presence[${index}]`);
        });
        validateRecord(payload.changed, "payload.changed");
        return {
          requestId: obj.requestId,
          channelName: obj.channelName,
          event: obj.event,
          action: enums_1.ServerActions.PRESENCE,
          payload: {
            presence: payload.presence,
            changed: payload.changed
          }
        };
      }
    };
    exports.serverMessageSchema = {
      parse(data) {
        validateObject(data, "serverMessage");
        const obj = data;
        if (!("event" in obj)) {
          throw new ValidationError("Missing required field", "event");
        }
        if (!("requestId" in obj)) {
          throw new ValidationError("Missing required field", "requestId");
        }
        if (!("channelName" in obj)) {
          throw new ValidationError("Missing required field", "channelName");
        }
        if (!("payload" in obj)) {
          throw new ValidationError("Missing required field", "payload");
        }
        if (!("action" in obj)) {
          throw new ValidationError("Missing required field", "action");
        }
        validateString(obj.event, "event");
        validateString(obj.requestId, "requestId");
        validateString(obj.channelName, "channelName");
        validateRecord(obj.payload, "payload");
        const validActions = [
          enums_1.ServerActions.BROADCAST,
          enums_1.ServerActions.CONNECT,
          enums_1.ServerActions.ERROR,
          enums_1.ServerActions.SYSTEM
        ];
        if (!validActions.includes(obj.action)) {
          throw new ValidationError(`Expected one of [${validActions.join(", ")}], got ${JSON.stringify(obj.action)}`, "action");
        }
        return {
          event: obj.event,
          requestId: obj.requestId,
          channelName: obj.channelName,
          payload: obj.payload,
          action: obj.action
        };
      }
    };
    exports.channelEventSchema = {
      parse(data) {
        validateObject(data, "channelEvent");
        const obj = data;
        if (!("action" in obj)) {
          throw new ValidationError("Missing required field", "action");
        }
        if (obj.action === enums_1.ServerActions.PRESENCE) {
          return exports.presenceMessageSchema.parse(data);
        }
        return exports.serverMessageSchema.parse(data);
      }
    };
  }
});

// page/node_modules/@eleven-am/pondsocket-common/index.js
var require_pondsocket_common = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-common/index.js"(exports) {
    "use strict";
    var __createBinding = exports && exports.__createBinding || (Object.create ? (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      var desc = Object.getOwnPropertyDescriptor(m, k);
      if (!desc || ("get" in desc ? !m.__esModule : desc.writable || desc.configurable)) {
        desc = { enumerable: true, get: function() {
          return m[k];
        } };
      }
      Object.defineProperty(o, k2, desc);
    }) : (function(o, m, k, k2) {
      if (k2 === void 0) k2 = k;
      o[k2] = m[k];
    }));
    var __exportStar = exports && exports.__exportStar || function(m, exports2) {
      for (var p in m) if (p !== "default" && !Object.prototype.hasOwnProperty.call(exports2, p)) __createBinding(exports2, m, p);
    };
    Object.defineProperty(exports, "__esModule", { value: true });
    __exportStar(require_subjects(), exports);
    __exportStar(require_enums(), exports);
    __exportStar(require_misc(), exports);
    __exportStar(require_schema(), exports);
  }
});

// page/node_modules/@eleven-am/pondsocket-client/types.js
var require_types2 = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/types.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.ConnectionState = void 0;
    var ConnectionState2;
    (function(ConnectionState3) {
      ConnectionState3["DISCONNECTED"] = "disconnected";
      ConnectionState3["CONNECTING"] = "connecting";
      ConnectionState3["CONNECTED"] = "connected";
    })(ConnectionState2 || (exports.ConnectionState = ConnectionState2 = {}));
  }
});

// page/node_modules/@eleven-am/pondsocket-client/core/channel.js
var require_channel = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/core/channel.js"(exports) {
    "use strict";
    var __classPrivateFieldSet = exports && exports.__classPrivateFieldSet || function(receiver, state, value, kind, f) {
      if (kind === "m") throw new TypeError("Private method is not writable");
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a setter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot write private member to an object whose class did not declare it");
      return kind === "a" ? f.call(receiver, value) : f ? f.value = value : state.set(receiver, value), value;
    };
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _Channel_instances;
    var _Channel_name;
    var _Channel_queue;
    var _Channel_presence;
    var _Channel_presenceSub;
    var _Channel_publisher;
    var _Channel_joinParams;
    var _Channel_receiver;
    var _Channel_clientState;
    var _Channel_joinState;
    var _Channel_emptyQueue;
    var _Channel_init;
    var _Channel_onMessage;
    var _Channel_publish;
    var _Channel_subscribeToPresence;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.Channel = void 0;
    var pondsocket_common_1 = require_pondsocket_common();
    var types_1 = require_types2();
    var Channel = class {
      constructor(publisher, clientState, name, params) {
        _Channel_instances.add(this);
        _Channel_name.set(this, void 0);
        _Channel_queue.set(this, void 0);
        _Channel_presence.set(this, void 0);
        _Channel_presenceSub.set(this, void 0);
        _Channel_publisher.set(this, void 0);
        _Channel_joinParams.set(this, void 0);
        _Channel_receiver.set(this, void 0);
        _Channel_clientState.set(this, void 0);
        _Channel_joinState.set(this, void 0);
        __classPrivateFieldSet(this, _Channel_name, name, "f");
        __classPrivateFieldSet(this, _Channel_queue, [], "f");
        __classPrivateFieldSet(this, _Channel_presence, [], "f");
        __classPrivateFieldSet(this, _Channel_joinParams, params, "f");
        __classPrivateFieldSet(this, _Channel_publisher, publisher, "f");
        __classPrivateFieldSet(this, _Channel_clientState, clientState, "f");
        __classPrivateFieldSet(this, _Channel_receiver, new pondsocket_common_1.Subject(), "f");
        __classPrivateFieldSet(this, _Channel_joinState, new pondsocket_common_1.BehaviorSubject(pondsocket_common_1.ChannelState.IDLE), "f");
        __classPrivateFieldSet(this, _Channel_presenceSub, () => {
        }, "f");
      }
      /**
       * @desc Gets the current connection state of the channel.
       */
      get channelState() {
        return __classPrivateFieldGet(this, _Channel_joinState, "f").value;
      }
      /**
       * @desc Gets the current presence of the channel.
       */
      get presence() {
        return __classPrivateFieldGet(this, _Channel_presence, "f");
      }
      /**
       * @desc Acknowledges the channel has been joined on the server.
       * @param receiver - The receiver to subscribe to.
       */
      acknowledge(receiver) {
        __classPrivateFieldGet(this, _Channel_joinState, "f").publish(pondsocket_common_1.ChannelState.JOINED);
        __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_init).call(this, receiver);
        __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_emptyQueue).call(this);
      }
      /**
       * @desc Marks the channel join as declined by the server.
       * @param payload - The decline payload containing status code and message.
       */
      decline(payload) {
        __classPrivateFieldGet(this, _Channel_joinState, "f").publish(pondsocket_common_1.ChannelState.DECLINED);
        __classPrivateFieldSet(this, _Channel_queue, [], "f");
      }
      /**
       * @desc Connects to the channel.
       */
      join() {
        const message = {
          action: pondsocket_common_1.ClientActions.JOIN_CHANNEL,
          event: pondsocket_common_1.ClientActions.JOIN_CHANNEL,
          payload: __classPrivateFieldGet(this, _Channel_joinParams, "f"),
          channelName: __classPrivateFieldGet(this, _Channel_name, "f"),
          requestId: (0, pondsocket_common_1.uuid)()
        };
        if (__classPrivateFieldGet(this, _Channel_joinState, "f").value === pondsocket_common_1.ChannelState.JOINED) {
          return;
        }
        __classPrivateFieldGet(this, _Channel_joinState, "f").publish(pondsocket_common_1.ChannelState.JOINING);
        if (__classPrivateFieldGet(this, _Channel_clientState, "f").value === types_1.ConnectionState.CONNECTED) {
          __classPrivateFieldGet(this, _Channel_publisher, "f").call(this, message);
        } else {
          const unsubscribe = __classPrivateFieldGet(this, _Channel_clientState, "f").subscribe((state) => {
            if (state === types_1.ConnectionState.CONNECTED) {
              unsubscribe();
              if (__classPrivateFieldGet(this, _Channel_joinState, "f").value === pondsocket_common_1.ChannelState.JOINING) {
                __classPrivateFieldGet(this, _Channel_publisher, "f").call(this, message);
              }
            }
          });
        }
      }
      /**
       * @desc Disconnects from the channel.
       */
      leave() {
        const message = {
          action: pondsocket_common_1.ClientActions.LEAVE_CHANNEL,
          event: pondsocket_common_1.ClientActions.LEAVE_CHANNEL,
          channelName: __classPrivateFieldGet(this, _Channel_name, "f"),
          requestId: (0, pondsocket_common_1.uuid)(),
          payload: {}
        };
        __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_publish).call(this, message);
        __classPrivateFieldGet(this, _Channel_joinState, "f").publish(pondsocket_common_1.ChannelState.CLOSED);
        __classPrivateFieldGet(this, _Channel_presenceSub, "f").call(this);
      }
      /**
       * @desc Monitors the channel state of the channel.
       * @param callback - The callback to call when the connection state changes.
       */
      onChannelStateChange(callback) {
        return __classPrivateFieldGet(this, _Channel_joinState, "f").subscribe((data) => {
          callback(data);
        });
      }
      /**
       * @desc Detects when clients join the channel.
       * @param callback - The callback to call when a client joins the channel.
       */
      onJoin(callback) {
        return __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_subscribeToPresence).call(this, (event, payload) => {
          if (event === pondsocket_common_1.PresenceEventTypes.JOIN) {
            return callback(payload.changed);
          }
        });
      }
      /**
       * @desc Detects when clients leave the channel.
       * @param callback - The callback to call when a client leaves the channel.
       */
      onLeave(callback) {
        return __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_subscribeToPresence).call(this, (event, payload) => {
          if (event === pondsocket_common_1.PresenceEventTypes.LEAVE) {
            return callback(payload.changed);
          }
        });
      }
      /**
       * @desc Monitors the channel for messages.
       * @param callback - The callback to call when a message is received.
       */
      onMessage(callback) {
        return __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_onMessage).call(this, (event, message) => {
          callback(event, message);
        });
      }
      /**
       * @desc Monitors the channel for messages.
       * @param event - The event to monitor.
       * @param callback - The callback to call when a message is received.
       */
      onMessageEvent(event, callback) {
        return this.onMessage((eventReceived, message) => {
          if (eventReceived === event) {
            return callback(message);
          }
        });
      }
      /**
       * @desc Detects when clients change their presence in the channel.
       * @param callback - The callback to call when a client changes their presence in the channel.
       */
      onPresenceChange(callback) {
        return __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_subscribeToPresence).call(this, (event, payload) => {
          if (event === pondsocket_common_1.PresenceEventTypes.UPDATE) {
            return callback(payload);
          }
        });
      }
      /**
       * @desc Monitors the presence of the channel.
       * @param callback - The callback to call when the presence changes.
       */
      onUsersChange(callback) {
        return __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_subscribeToPresence).call(this, (_event, payload) => callback(payload.presence));
      }
      /**
       * @desc Sends a message to specific clients in the channel.
       * @param event - The event to send.
       * @param payload - The message to send.
       */
      sendMessage(event, payload) {
        const requestId = (0, pondsocket_common_1.uuid)();
        const message = {
          action: pondsocket_common_1.ClientActions.BROADCAST,
          channelName: __classPrivateFieldGet(this, _Channel_name, "f"),
          requestId,
          event,
          payload
        };
        __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_publish).call(this, message);
      }
      /**
       * @desc Sends a message to the server and waits for a response.
       * @param sentEvent - The event to send.
       * @param payload - The message to send.
       */
      sendForResponse(sentEvent, payload) {
        const requestId = (0, pondsocket_common_1.uuid)();
        return new Promise((resolve) => {
          const unsub = __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_onMessage).call(this, (_, message2, responseId) => {
            if (requestId === responseId) {
              resolve(message2);
              unsub();
            }
          });
          const message = {
            action: pondsocket_common_1.ClientActions.BROADCAST,
            channelName: __classPrivateFieldGet(this, _Channel_name, "f"),
            requestId,
            event: sentEvent,
            payload
          };
          __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_publish).call(this, message);
        });
      }
    };
    exports.Channel = Channel;
    _Channel_name = /* @__PURE__ */ new WeakMap(), _Channel_queue = /* @__PURE__ */ new WeakMap(), _Channel_presence = /* @__PURE__ */ new WeakMap(), _Channel_presenceSub = /* @__PURE__ */ new WeakMap(), _Channel_publisher = /* @__PURE__ */ new WeakMap(), _Channel_joinParams = /* @__PURE__ */ new WeakMap(), _Channel_receiver = /* @__PURE__ */ new WeakMap(), _Channel_clientState = /* @__PURE__ */ new WeakMap(), _Channel_joinState = /* @__PURE__ */ new WeakMap(), _Channel_instances = /* @__PURE__ */ new WeakSet(), _Channel_emptyQueue = function _Channel_emptyQueue2() {
      __classPrivateFieldGet(this, _Channel_queue, "f").forEach((message) => __classPrivateFieldGet(this, _Channel_publisher, "f").call(this, message));
      __classPrivateFieldSet(this, _Channel_queue, [], "f");
    }, _Channel_init = function _Channel_init2(receiver) {
      __classPrivateFieldGet(this, _Channel_presenceSub, "f").call(this);
      const unsubMessages = receiver.subscribe((data) => {
        if (data.channelName === __classPrivateFieldGet(this, _Channel_name, "f") && this.channelState === pondsocket_common_1.ChannelState.JOINED) {
          __classPrivateFieldGet(this, _Channel_receiver, "f").publish(data);
        }
      });
      const unsubStateChange = __classPrivateFieldGet(this, _Channel_clientState, "f").subscribe((state) => {
        if (state === types_1.ConnectionState.CONNECTED && __classPrivateFieldGet(this, _Channel_joinState, "f").value === pondsocket_common_1.ChannelState.STALLED) {
          const message = {
            action: pondsocket_common_1.ClientActions.JOIN_CHANNEL,
            event: pondsocket_common_1.ClientActions.JOIN_CHANNEL,
            payload: __classPrivateFieldGet(this, _Channel_joinParams, "f"),
            channelName: __classPrivateFieldGet(this, _Channel_name, "f"),
            requestId: (0, pondsocket_common_1.uuid)()
          };
          __classPrivateFieldGet(this, _Channel_publisher, "f").call(this, message);
        } else if (state !== types_1.ConnectionState.CONNECTED && __classPrivateFieldGet(this, _Channel_joinState, "f").value === pondsocket_common_1.ChannelState.JOINED) {
          __classPrivateFieldGet(this, _Channel_joinState, "f").publish(pondsocket_common_1.ChannelState.STALLED);
        }
      });
      const unsubPresence = __classPrivateFieldGet(this, _Channel_instances, "m", _Channel_subscribeToPresence).call(this, (_, payload) => {
        __classPrivateFieldSet(this, _Channel_presence, payload.presence, "f");
      });
      __classPrivateFieldSet(this, _Channel_presenceSub, () => {
        unsubMessages();
        unsubStateChange();
        unsubPresence();
      }, "f");
    }, _Channel_onMessage = function _Channel_onMessage2(callback) {
      return __classPrivateFieldGet(this, _Channel_receiver, "f").subscribe((data) => {
        if (data.action !== pondsocket_common_1.ServerActions.PRESENCE) {
          return callback(data.event, data.payload, data.requestId);
        }
      });
    }, _Channel_publish = function _Channel_publish2(data) {
      if (__classPrivateFieldGet(this, _Channel_joinState, "f").value === pondsocket_common_1.ChannelState.JOINED) {
        return __classPrivateFieldGet(this, _Channel_publisher, "f").call(this, data);
      }
      __classPrivateFieldGet(this, _Channel_queue, "f").push(data);
    }, _Channel_subscribeToPresence = function _Channel_subscribeToPresence2(callback) {
      return __classPrivateFieldGet(this, _Channel_receiver, "f").subscribe((data) => {
        if (data.action === pondsocket_common_1.ServerActions.PRESENCE) {
          return callback(data.event, data.payload);
        }
      });
    };
  }
});

// page/node_modules/@eleven-am/pondsocket-client/browser/client.js
var require_client = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/browser/client.js"(exports) {
    "use strict";
    var __classPrivateFieldSet = exports && exports.__classPrivateFieldSet || function(receiver, state, value, kind, f) {
      if (kind === "m") throw new TypeError("Private method is not writable");
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a setter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot write private member to an object whose class did not declare it");
      return kind === "a" ? f.call(receiver, value) : f ? f.value = value : state.set(receiver, value), value;
    };
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _PondClient_instances;
    var _PondClient_channels;
    var _PondClient_clearTimeouts;
    var _PondClient_createPublisher;
    var _PondClient_handleAcknowledge;
    var _PondClient_handleUnauthorized;
    var _PondClient_init;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.PondClient = void 0;
    var pondsocket_common_1 = require_pondsocket_common();
    var channel_1 = require_channel();
    var types_1 = require_types2();
    var DEFAULT_CONNECTION_TIMEOUT = 1e4;
    var DEFAULT_MAX_RECONNECT_DELAY = 3e4;
    var PondClient2 = class {
      constructor(endpoint, params = {}, options = {}) {
        var _a, _b;
        _PondClient_instances.add(this);
        _PondClient_channels.set(this, void 0);
        let address;
        try {
          address = new URL(endpoint);
        } catch (e) {
          address = new URL(window.location.toString());
          address.pathname = endpoint;
        }
        this._disconnecting = false;
        this._reconnectAttempts = 0;
        const query = new URLSearchParams(params);
        address.search = query.toString();
        const protocol = address.protocol === "https:" ? "wss:" : "ws:";
        if (address.protocol !== "wss:" && address.protocol !== "ws:") {
          address.protocol = protocol;
        }
        this._address = address;
        this._options = {
          connectionTimeout: (_a = options.connectionTimeout) !== null && _a !== void 0 ? _a : DEFAULT_CONNECTION_TIMEOUT,
          maxReconnectDelay: (_b = options.maxReconnectDelay) !== null && _b !== void 0 ? _b : DEFAULT_MAX_RECONNECT_DELAY,
          pingInterval: options.pingInterval
        };
        __classPrivateFieldSet(this, _PondClient_channels, /* @__PURE__ */ new Map(), "f");
        this._broadcaster = new pondsocket_common_1.Subject();
        this._connectionState = new pondsocket_common_1.BehaviorSubject(types_1.ConnectionState.DISCONNECTED);
        this._errorSubject = new pondsocket_common_1.Subject();
        __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_init).call(this);
      }
      /**
       * @desc Connects to the server and returns the socket.
       */
      connect() {
        this._disconnecting = false;
        this._connectionState.publish(types_1.ConnectionState.CONNECTING);
        const socket = new WebSocket(this._address.toString());
        this._connectionTimeoutId = setTimeout(() => {
          if (socket.readyState === WebSocket.CONNECTING) {
            const error = new Error("Connection timeout");
            this._errorSubject.publish(error);
            socket.close();
          }
        }, this._options.connectionTimeout);
        socket.onopen = () => {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_clearTimeouts).call(this);
          this._reconnectAttempts = 0;
          if (this._options.pingInterval) {
            this._pingIntervalId = setInterval(() => {
              if (socket.readyState === WebSocket.OPEN) {
                socket.send(JSON.stringify({ action: "ping" }));
              }
            }, this._options.pingInterval);
          }
        };
        socket.onmessage = (message) => {
          const lines = message.data.trim().split("\n");
          for (const line of lines) {
            if (line.trim()) {
              const data = JSON.parse(line);
              const event = pondsocket_common_1.channelEventSchema.parse(data);
              this._broadcaster.publish(event);
            }
          }
        };
        socket.onerror = (event) => {
          const error = new Error("WebSocket error");
          this._errorSubject.publish(error);
          socket.close();
        };
        socket.onclose = () => {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_clearTimeouts).call(this);
          this._connectionState.publish(types_1.ConnectionState.DISCONNECTED);
          if (this._disconnecting) {
            return;
          }
          const delay = Math.min(1e3 * Math.pow(2, this._reconnectAttempts), this._options.maxReconnectDelay);
          this._reconnectAttempts++;
          setTimeout(() => {
            this.connect();
          }, delay);
        };
        this._socket = socket;
      }
      /**
       * @desc Returns the current state of the socket.
       */
      getState() {
        return this._connectionState.value;
      }
      /**
       * @desc Disconnects the socket.
       */
      disconnect() {
        var _a;
        __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_clearTimeouts).call(this);
        this._disconnecting = true;
        this._connectionState.publish(types_1.ConnectionState.DISCONNECTED);
        (_a = this._socket) === null || _a === void 0 ? void 0 : _a.close();
        __classPrivateFieldGet(this, _PondClient_channels, "f").clear();
      }
      /**
       * @desc Creates a channel with the given name and params.
       * @param name - The name of the channel.
       * @param params - The params to send to the server.
       */
      createChannel(name, params) {
        const channel = __classPrivateFieldGet(this, _PondClient_channels, "f").get(name);
        if (channel && channel.channelState !== pondsocket_common_1.ChannelState.CLOSED) {
          return channel;
        }
        const publisher = __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_createPublisher).call(this);
        const newChannel = new channel_1.Channel(publisher, this._connectionState, name, params || {});
        __classPrivateFieldGet(this, _PondClient_channels, "f").set(name, newChannel);
        return newChannel;
      }
      /**
       * @desc Subscribes to the connection state.
       * @param callback - The callback to call when the state changes.
       */
      onConnectionChange(callback) {
        return this._connectionState.subscribe(callback);
      }
      /**
       * @desc Subscribes to connection errors.
       * @param callback - The callback to call when an error occurs.
       */
      onError(callback) {
        return this._errorSubject.subscribe(callback);
      }
    };
    exports.PondClient = PondClient2;
    _PondClient_channels = /* @__PURE__ */ new WeakMap(), _PondClient_instances = /* @__PURE__ */ new WeakSet(), _PondClient_clearTimeouts = function _PondClient_clearTimeouts2() {
      if (this._connectionTimeoutId) {
        clearTimeout(this._connectionTimeoutId);
        this._connectionTimeoutId = void 0;
      }
      if (this._pingIntervalId) {
        clearInterval(this._pingIntervalId);
        this._pingIntervalId = void 0;
      }
    }, _PondClient_createPublisher = function _PondClient_createPublisher2() {
      return (message) => {
        if (this._connectionState.value === types_1.ConnectionState.CONNECTED) {
          this._socket.send(JSON.stringify(message));
        }
      };
    }, _PondClient_handleAcknowledge = function _PondClient_handleAcknowledge2(message) {
      var _a;
      const channel = (_a = __classPrivateFieldGet(this, _PondClient_channels, "f").get(message.channelName)) !== null && _a !== void 0 ? _a : new channel_1.Channel(__classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_createPublisher).call(this), this._connectionState, message.channelName, {});
      __classPrivateFieldGet(this, _PondClient_channels, "f").set(message.channelName, channel);
      channel.acknowledge(this._broadcaster);
    }, _PondClient_handleUnauthorized = function _PondClient_handleUnauthorized2(message) {
      const channel = __classPrivateFieldGet(this, _PondClient_channels, "f").get(message.channelName);
      if (channel) {
        const payload = message.payload;
        channel.decline(payload);
      }
    }, _PondClient_init = function _PondClient_init2() {
      this._broadcaster.subscribe((message) => {
        if (message.event === pondsocket_common_1.Events.ACKNOWLEDGE) {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_handleAcknowledge).call(this, message);
        } else if (message.event === pondsocket_common_1.Events.UNAUTHORIZED) {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_handleUnauthorized).call(this, message);
        } else if (message.event === pondsocket_common_1.Events.CONNECTION && message.action === pondsocket_common_1.ServerActions.CONNECT) {
          this._connectionState.publish(types_1.ConnectionState.CONNECTED);
        }
      });
    };
  }
});

// page/node_modules/@eleven-am/pondsocket-client/browser/sseClient.js
var require_sseClient = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/browser/sseClient.js"(exports) {
    "use strict";
    var __classPrivateFieldSet = exports && exports.__classPrivateFieldSet || function(receiver, state, value, kind, f) {
      if (kind === "m") throw new TypeError("Private method is not writable");
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a setter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot write private member to an object whose class did not declare it");
      return kind === "a" ? f.call(receiver, value) : f ? f.value = value : state.set(receiver, value), value;
    };
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _SSEClient_instances;
    var _SSEClient_channels;
    var _SSEClient_handleMessage;
    var _SSEClient_clearTimeout;
    var _SSEClient_createPublisher;
    var _SSEClient_handleAcknowledge;
    var _SSEClient_handleUnauthorized;
    var _SSEClient_init;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.SSEClient = void 0;
    var pondsocket_common_1 = require_pondsocket_common();
    var channel_1 = require_channel();
    var types_1 = require_types2();
    var DEFAULT_CONNECTION_TIMEOUT = 1e4;
    var DEFAULT_MAX_RECONNECT_DELAY = 3e4;
    var SSEClient = class {
      constructor(endpoint, params = {}, options = {}) {
        var _a, _b;
        _SSEClient_instances.add(this);
        _SSEClient_channels.set(this, void 0);
        let address;
        try {
          address = new URL(endpoint);
        } catch (e) {
          address = new URL(window.location.toString());
          address.pathname = endpoint;
        }
        this._disconnecting = false;
        this._reconnectAttempts = 0;
        const query = new URLSearchParams(params);
        address.search = query.toString();
        if (address.protocol !== "https:" && address.protocol !== "http:") {
          address.protocol = window.location.protocol;
        }
        this._address = address;
        this._postAddress = new URL(address.toString());
        this._options = {
          connectionTimeout: (_a = options.connectionTimeout) !== null && _a !== void 0 ? _a : DEFAULT_CONNECTION_TIMEOUT,
          maxReconnectDelay: (_b = options.maxReconnectDelay) !== null && _b !== void 0 ? _b : DEFAULT_MAX_RECONNECT_DELAY,
          pingInterval: options.pingInterval,
          withCredentials: options.withCredentials
        };
        __classPrivateFieldSet(this, _SSEClient_channels, /* @__PURE__ */ new Map(), "f");
        this._broadcaster = new pondsocket_common_1.Subject();
        this._connectionState = new pondsocket_common_1.BehaviorSubject(types_1.ConnectionState.DISCONNECTED);
        this._errorSubject = new pondsocket_common_1.Subject();
        __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_init).call(this);
      }
      connect() {
        var _a;
        this._disconnecting = false;
        this._connectionState.publish(types_1.ConnectionState.CONNECTING);
        const eventSource = new EventSource(this._address.toString(), {
          withCredentials: (_a = this._options.withCredentials) !== null && _a !== void 0 ? _a : false
        });
        this._connectionTimeoutId = setTimeout(() => {
          if (eventSource.readyState === EventSource.CONNECTING) {
            const error = new Error("Connection timeout");
            this._errorSubject.publish(error);
            eventSource.close();
          }
        }, this._options.connectionTimeout);
        eventSource.onopen = () => {
          __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_clearTimeout).call(this);
          this._reconnectAttempts = 0;
        };
        eventSource.onmessage = (event) => {
          __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_handleMessage).call(this, event.data);
        };
        eventSource.onerror = () => {
          const error = new Error("SSE connection error");
          this._errorSubject.publish(error);
          eventSource.close();
          __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_clearTimeout).call(this);
          this._connectionState.publish(types_1.ConnectionState.DISCONNECTED);
          if (this._disconnecting) {
            return;
          }
          const delay = Math.min(1e3 * Math.pow(2, this._reconnectAttempts), this._options.maxReconnectDelay);
          this._reconnectAttempts++;
          setTimeout(() => {
            this.connect();
          }, delay);
        };
        this._eventSource = eventSource;
      }
      getState() {
        return this._connectionState.value;
      }
      getConnectionId() {
        return this._connectionId;
      }
      disconnect() {
        var _a;
        __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_clearTimeout).call(this);
        this._disconnecting = true;
        this._connectionState.publish(types_1.ConnectionState.DISCONNECTED);
        if (this._connectionId) {
          fetch(this._postAddress.toString(), {
            method: "DELETE",
            headers: {
              "X-Connection-ID": this._connectionId
            },
            credentials: this._options.withCredentials ? "include" : "same-origin"
          }).catch(() => {
          });
        }
        (_a = this._eventSource) === null || _a === void 0 ? void 0 : _a.close();
        this._connectionId = void 0;
        __classPrivateFieldGet(this, _SSEClient_channels, "f").clear();
      }
      createChannel(name, params) {
        const channel = __classPrivateFieldGet(this, _SSEClient_channels, "f").get(name);
        if (channel && channel.channelState !== pondsocket_common_1.ChannelState.CLOSED) {
          return channel;
        }
        const publisher = __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_createPublisher).call(this);
        const newChannel = new channel_1.Channel(publisher, this._connectionState, name, params || {});
        __classPrivateFieldGet(this, _SSEClient_channels, "f").set(name, newChannel);
        return newChannel;
      }
      onConnectionChange(callback) {
        return this._connectionState.subscribe(callback);
      }
      onError(callback) {
        return this._errorSubject.subscribe(callback);
      }
    };
    exports.SSEClient = SSEClient;
    _SSEClient_channels = /* @__PURE__ */ new WeakMap(), _SSEClient_instances = /* @__PURE__ */ new WeakSet(), _SSEClient_handleMessage = function _SSEClient_handleMessage2(data) {
      try {
        const lines = data.trim().split("\n");
        for (const line of lines) {
          if (line.trim()) {
            const parsed = JSON.parse(line);
            const event = pondsocket_common_1.channelEventSchema.parse(parsed);
            if (event.event === pondsocket_common_1.Events.CONNECTION && event.action === pondsocket_common_1.ServerActions.CONNECT) {
              if (event.payload && typeof event.payload === "object" && "connectionId" in event.payload) {
                this._connectionId = event.payload.connectionId;
              }
            }
            this._broadcaster.publish(event);
          }
        }
      } catch (e) {
        this._errorSubject.publish(e instanceof Error ? e : new Error("Failed to parse SSE message"));
      }
    }, _SSEClient_clearTimeout = function _SSEClient_clearTimeout2() {
      if (this._connectionTimeoutId) {
        clearTimeout(this._connectionTimeoutId);
        this._connectionTimeoutId = void 0;
      }
    }, _SSEClient_createPublisher = function _SSEClient_createPublisher2() {
      return (message) => {
        if (this._connectionState.value === types_1.ConnectionState.CONNECTED && this._connectionId) {
          fetch(this._postAddress.toString(), {
            method: "POST",
            headers: {
              "Content-Type": "application/json",
              "X-Connection-ID": this._connectionId
            },
            body: JSON.stringify(message),
            credentials: this._options.withCredentials ? "include" : "same-origin"
          }).catch((err) => {
            this._errorSubject.publish(err instanceof Error ? err : new Error("Failed to send message"));
          });
        }
      };
    }, _SSEClient_handleAcknowledge = function _SSEClient_handleAcknowledge2(message) {
      var _a;
      const channel = (_a = __classPrivateFieldGet(this, _SSEClient_channels, "f").get(message.channelName)) !== null && _a !== void 0 ? _a : new channel_1.Channel(__classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_createPublisher).call(this), this._connectionState, message.channelName, {});
      __classPrivateFieldGet(this, _SSEClient_channels, "f").set(message.channelName, channel);
      channel.acknowledge(this._broadcaster);
    }, _SSEClient_handleUnauthorized = function _SSEClient_handleUnauthorized2(message) {
      const channel = __classPrivateFieldGet(this, _SSEClient_channels, "f").get(message.channelName);
      if (channel) {
        const payload = message.payload;
        channel.decline(payload);
      }
    }, _SSEClient_init = function _SSEClient_init2() {
      this._broadcaster.subscribe((message) => {
        if (message.event === pondsocket_common_1.Events.ACKNOWLEDGE) {
          __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_handleAcknowledge).call(this, message);
        } else if (message.event === pondsocket_common_1.Events.UNAUTHORIZED) {
          __classPrivateFieldGet(this, _SSEClient_instances, "m", _SSEClient_handleUnauthorized).call(this, message);
        } else if (message.event === pondsocket_common_1.Events.CONNECTION && message.action === pondsocket_common_1.ServerActions.CONNECT) {
          this._connectionState.publish(types_1.ConnectionState.CONNECTED);
        }
      });
    };
  }
});

// page/js/not-in-a-page.js
var not_in_a_page_exports = {};
var init_not_in_a_page = __esm({
  "page/js/not-in-a-page.js"() {
  }
});

// page/node_modules/@eleven-am/pondsocket-client/node/node.js
var require_node = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/node/node.js"(exports) {
    "use strict";
    var __classPrivateFieldGet = exports && exports.__classPrivateFieldGet || function(receiver, state, kind, f) {
      if (kind === "a" && !f) throw new TypeError("Private accessor was defined without a getter");
      if (typeof state === "function" ? receiver !== state || !f : !state.has(receiver)) throw new TypeError("Cannot read private member from an object whose class did not declare it");
      return kind === "m" ? f : kind === "a" ? f.call(receiver) : f ? f.value : state.get(receiver);
    };
    var _PondClient_instances;
    var _PondClient_clearTimeouts;
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.PondClient = void 0;
    var pondsocket_common_1 = require_pondsocket_common();
    var client_1 = require_client();
    var types_1 = require_types2();
    var WebSocket2 = (init_not_in_a_page(), __toCommonJS(not_in_a_page_exports)).w3cwebsocket;
    var PondClient2 = class extends client_1.PondClient {
      constructor() {
        super(...arguments);
        _PondClient_instances.add(this);
      }
      /**
       * @desc Connects to the server and returns the socket.
       */
      connect() {
        this._disconnecting = false;
        this._connectionState.publish(types_1.ConnectionState.CONNECTING);
        const socket = new WebSocket2(this._address.toString());
        this._connectionTimeoutId = setTimeout(() => {
          if (socket.readyState === WebSocket2.CONNECTING) {
            const error = new Error("Connection timeout");
            this._errorSubject.publish(error);
            socket.close();
          }
        }, this._options.connectionTimeout);
        socket.onopen = () => {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_clearTimeouts).call(this);
          this._reconnectAttempts = 0;
          if (this._options.pingInterval) {
            this._pingIntervalId = setInterval(() => {
              if (socket.readyState === WebSocket2.OPEN) {
                socket.send(JSON.stringify({ action: "ping" }));
              }
            }, this._options.pingInterval);
          }
        };
        socket.onmessage = (message) => {
          const lines = message.data.trim().split("\n");
          for (const line of lines) {
            if (line.trim()) {
              const data = JSON.parse(line);
              const event = pondsocket_common_1.channelEventSchema.parse(data);
              this._broadcaster.publish(event);
            }
          }
        };
        socket.onerror = () => {
          const error = new Error("WebSocket error");
          this._errorSubject.publish(error);
          socket.close();
        };
        socket.onclose = () => {
          __classPrivateFieldGet(this, _PondClient_instances, "m", _PondClient_clearTimeouts).call(this);
          this._connectionState.publish(types_1.ConnectionState.DISCONNECTED);
          if (this._disconnecting) {
            return;
          }
          const delay = Math.min(1e3 * Math.pow(2, this._reconnectAttempts), this._options.maxReconnectDelay);
          this._reconnectAttempts++;
          setTimeout(() => {
            this.connect();
          }, delay);
        };
        this._socket = socket;
      }
    };
    exports.PondClient = PondClient2;
    _PondClient_instances = /* @__PURE__ */ new WeakSet(), _PondClient_clearTimeouts = function _PondClient_clearTimeouts2() {
      if (this._connectionTimeoutId) {
        clearTimeout(this._connectionTimeoutId);
        this._connectionTimeoutId = void 0;
      }
      if (this._pingIntervalId) {
        clearInterval(this._pingIntervalId);
        this._pingIntervalId = void 0;
      }
    };
  }
});

// page/node_modules/@eleven-am/pondsocket-client/index.js
var require_pondsocket_client = __commonJS({
  "page/node_modules/@eleven-am/pondsocket-client/index.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.SSEClient = exports.PondClient = exports.ConnectionState = exports.ChannelState = void 0;
    var pondsocket_common_1 = require_pondsocket_common();
    Object.defineProperty(exports, "ChannelState", { enumerable: true, get: function() {
      return pondsocket_common_1.ChannelState;
    } });
    var client_1 = require_client();
    var sseClient_1 = require_sseClient();
    Object.defineProperty(exports, "SSEClient", { enumerable: true, get: function() {
      return sseClient_1.SSEClient;
    } });
    var node_1 = require_node();
    var types_1 = require_types2();
    Object.defineProperty(exports, "ConnectionState", { enumerable: true, get: function() {
      return types_1.ConnectionState;
    } });
    var PondClient2 = typeof window === "undefined" ? node_1.PondClient : client_1.PondClient;
    exports.PondClient = PondClient2;
  }
});

// page/js/dom.js
var byId = (id) => document.getElementById(id);
function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// page/js/connection.js
var TEXTS = {
  connecting: "Connecting\u2026",
  connected: "Connected",
  reconnecting: "Reconnecting\u2026",
  offline: "Offline"
};
var last = "connecting";
function showConnection(state) {
  last = state;
  const shown = state !== "connected" && !navigator.onLine ? "offline" : state;
  byId("connection").dataset.state = shown;
  byId("connection").textContent = TEXTS[shown];
}
addEventListener("online", () => showConnection(last));
addEventListener("offline", () => showConnection(last));

// page/js/theme.js
var KEY = "pond-theme";
var system = matchMedia("(prefers-color-scheme: dark)");
function wireTheme() {
  apply(localStorage.getItem(KEY));
  for (const button of document.querySelectorAll("[data-theme-toggle]")) button.addEventListener("click", toggle);
}
function toggle() {
  const root = document.documentElement;
  const wanted = (root.dataset.theme ?? systemTheme()) === "dark" ? "light" : "dark";
  if (wanted === systemTheme()) localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, wanted);
  apply(localStorage.getItem(KEY));
}
function apply(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
function systemTheme() {
  return system.matches ? "dark" : "light";
}

// rate-limit/page/src/link.js
var import_pondsocket_client = __toESM(require_pondsocket_client());
var Link = class {
  wasIn = false;
  /** `on` has a callback for each event that the page shows. */
  constructor(on) {
    const client = new import_pondsocket_client.PondClient(new URL("/api/socket", location.href).href);
    this.channel = client.createChannel("/lab");
    this.channel.onMessageEvent("welcome", ({ limits }) => on.welcome(limits));
    this.channel.onMessageEvent("stats", (stats) => on.stats(stats));
    client.onConnectionChange((state) => {
      const connected = state === import_pondsocket_client.ConnectionState.CONNECTED;
      this.wasIn ||= connected;
      on.connection(connected ? "connected" : this.wasIn ? "reconnecting" : "connecting");
    });
    this.channel.join();
    client.connect();
  }
  /** Sends an event. Returns the answer and the time that it took: `{ answer, took }`. */
  async ask(event) {
    const since = performance.now();
    const answer = await this.channel.sendForResponse(event, {});
    return { answer, took: performance.now() - since };
  }
  /** Sends without waiting for answers. */
  send(event) {
    this.channel.sendMessage(event, {});
  }
};

// rate-limit/page/src/view/outcome.js
function outcomeOf({ code }) {
  if (!code) return "done";
  return code === 429 ? "refused" : "failed";
}
function textOf({ code, message, details }) {
  if (!code) return "done";
  if (code === 429) return `${message}: again in ${(details.retryAfterMs / 1e3).toFixed(1)} s`;
  return details?.incident ? `${message}: incident ${details.incident}` : message;
}

// rate-limit/page/src/view/event-card.js
var PACE = 100;
var EventCard = class {
  constructor(root, send2) {
    this.root = root;
    this.event = root.dataset.event;
    for (const button of root.querySelectorAll("[data-times]")) {
      button.addEventListener("click", () => send2(this, Number(button.dataset.times)));
    }
  }
  /** Shows the limit of the event, as the server sends it; `undefined` for none of its own. */
  limit(limit) {
    if (!limit) return;
    this.rate = limit;
    this.tokens = limit.burst;
    this.at = Date.now();
    this.root.querySelector(".rate").textContent = `${limit.burst} at once, then ${limit.perSecond} a second`;
    this.root.querySelector(".bucket").replaceChildren(...Array.from({ length: limit.burst }, () => element("i")));
    clearInterval(this.timer);
    this.timer = setInterval(() => this.show(), PACE);
    this.show();
  }
  answered(answer) {
    const outcome = outcomeOf(answer);
    if (this.rate) {
      this.refill();
      if (outcome === "refused") this.tokens = Math.max(0, 1 - answer.details.retryAfterMs / 1e3 * this.rate.perSecond);
      else this.tokens = Math.max(0, this.tokens - 1);
      this.show();
    }
    this.root.dataset.outcome = outcome;
    this.root.querySelector(".verdict").textContent = answer.code ? `${answer.code} ${textOf(answer)}` : "done";
  }
  refill() {
    const now = Date.now();
    this.tokens = Math.min(this.rate.burst, this.tokens + (now - this.at) / 1e3 * this.rate.perSecond);
    this.at = now;
  }
  show() {
    this.refill();
    [...this.root.querySelector(".bucket").children].forEach((drop, number) => {
      drop.style.setProperty("--full", `${Math.round(Math.min(1, Math.max(0, this.tokens - number)) * 100)}%`);
    });
  }
};

// rate-limit/page/src/view/log.js
var MAX_SHOWN = 100;
function log(event, answer, took) {
  const row = element("li", "", element("code", "", event), element("strong", "", answer.code ?? "ok"), element("span", "muted", `${took.toFixed(1)} ms`), element("span", "", textOf(answer)));
  row.dataset.outcome = outcomeOf(answer);
  byId("log").prepend(row);
  while (byId("log").childElementCount > MAX_SHOWN) byId("log").lastElementChild.remove();
}

// rate-limit/page/src/view/stats.js
var time = (us) => us < 1e3 ? `${us} \xB5s` : `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
function showStats(stats) {
  for (const name of ["done", "refused", "failed", "incidents", "closed"]) byId(name).textContent = stats[name];
  byId("median").textContent = stats.medianUs ? time(stats.medianUs) : "\u2013";
  byId("p99").textContent = stats.p99Us ? time(stats.p99Us) : "\u2013";
}

// rate-limit/page/src/main.js
var FLOOD = 300;
wireTheme();
var cards = [...document.querySelectorAll(".event")].map((root) => new EventCard(root, send));
var link = new Link({
  connection: showConnection,
  welcome: (limits) => {
    for (const card of cards) card.limit(limits[card.event]);
  },
  stats: showStats
});
byId("flood").addEventListener("click", () => {
  for (let sent = 0; sent < FLOOD; sent++) link.send("ping");
});
function send(card, times) {
  for (let sent = 0; sent < times; sent++) {
    link.ask(card.event).then(({ answer, took }) => {
      card.answered(answer);
      log(card.event, answer, took);
    });
  }
}

var __create = Object.create;
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __getProtoOf = Object.getPrototypeOf;
var __hasOwnProp = Object.prototype.hasOwnProperty;
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

// node_modules/@eleven-am/pondsocket-common/subjects/subject.js
var require_subject = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/subjects/subject.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/subjects/behaviorSubject.js
var require_behaviorSubject = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/subjects/behaviorSubject.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/subjects/index.js
var require_subjects = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/subjects/index.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/enums.js
var require_enums = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/enums.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/misc/uuid.js
var require_uuid = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/misc/uuid.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/misc/types.js
var require_types = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/misc/types.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
  }
});

// node_modules/@eleven-am/pondsocket-common/misc/index.js
var require_misc = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/misc/index.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/schema.js
var require_schema = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/schema.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-common/index.js
var require_pondsocket_common = __commonJS({
  "node_modules/@eleven-am/pondsocket-common/index.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-client/types.js
var require_types2 = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/types.js"(exports) {
    "use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.ConnectionState = void 0;
    var ConnectionState;
    (function(ConnectionState2) {
      ConnectionState2["DISCONNECTED"] = "disconnected";
      ConnectionState2["CONNECTING"] = "connecting";
      ConnectionState2["CONNECTED"] = "connected";
    })(ConnectionState || (exports.ConnectionState = ConnectionState = {}));
  }
});

// node_modules/@eleven-am/pondsocket-client/core/channel.js
var require_channel = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/core/channel.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-client/browser/client.js
var require_client = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/browser/client.js"(exports) {
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

// node_modules/@eleven-am/pondsocket-client/browser/sseClient.js
var require_sseClient = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/browser/sseClient.js"(exports) {
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

// node_modules/es5-ext/global.js
var require_global = __commonJS({
  "node_modules/es5-ext/global.js"(exports, module) {
    var naiveFallback = function() {
      if (typeof self === "object" && self) return self;
      if (typeof window === "object" && window) return window;
      throw new Error("Unable to resolve global `this`");
    };
    module.exports = (function() {
      if (this) return this;
      if (typeof globalThis === "object" && globalThis) return globalThis;
      try {
        Object.defineProperty(Object.prototype, "__global__", {
          get: function() {
            return this;
          },
          configurable: true
        });
      } catch (error) {
        return naiveFallback();
      }
      try {
        if (!__global__) return naiveFallback();
        return __global__;
      } finally {
        delete Object.prototype.__global__;
      }
    })();
  }
});

// node_modules/websocket/package.json
var require_package = __commonJS({
  "node_modules/websocket/package.json"(exports, module) {
    module.exports = {
      name: "websocket",
      description: "Websocket Client & Server Library implementing the WebSocket protocol as specified in RFC 6455.",
      keywords: [
        "websocket",
        "websockets",
        "socket",
        "networking",
        "comet",
        "push",
        "RFC-6455",
        "realtime",
        "server",
        "client"
      ],
      author: "Brian McKelvey <theturtle32@gmail.com> (https://github.com/theturtle32)",
      contributors: [
        "I\xF1aki Baz Castillo <ibc@aliax.net> (http://dev.sipdoc.net)"
      ],
      version: "1.0.35",
      repository: {
        type: "git",
        url: "https://github.com/theturtle32/WebSocket-Node.git"
      },
      homepage: "https://github.com/theturtle32/WebSocket-Node",
      engines: {
        node: ">=4.0.0"
      },
      dependencies: {
        bufferutil: "^4.0.1",
        debug: "^2.2.0",
        "es5-ext": "^0.10.63",
        "typedarray-to-buffer": "^3.1.5",
        "utf-8-validate": "^5.0.2",
        yaeti: "^0.0.6"
      },
      devDependencies: {
        "buffer-equal": "^1.0.0",
        gulp: "^4.0.2",
        "gulp-jshint": "^2.0.4",
        "jshint-stylish": "^2.2.1",
        jshint: "^2.0.0",
        tape: "^4.9.1"
      },
      config: {
        verbose: false
      },
      scripts: {
        test: "tape test/unit/*.js",
        gulp: "gulp"
      },
      main: "index",
      directories: {
        lib: "./lib"
      },
      browser: "lib/browser.js",
      license: "Apache-2.0"
    };
  }
});

// node_modules/websocket/lib/version.js
var require_version = __commonJS({
  "node_modules/websocket/lib/version.js"(exports, module) {
    module.exports = require_package().version;
  }
});

// node_modules/websocket/lib/browser.js
var require_browser = __commonJS({
  "node_modules/websocket/lib/browser.js"(exports, module) {
    var _globalThis;
    if (typeof globalThis === "object") {
      _globalThis = globalThis;
    } else {
      try {
        _globalThis = require_global();
      } catch (error) {
      } finally {
        if (!_globalThis && typeof window !== "undefined") {
          _globalThis = window;
        }
        if (!_globalThis) {
          throw new Error("Could not determine global this");
        }
      }
    }
    var NativeWebSocket = _globalThis.WebSocket || _globalThis.MozWebSocket;
    var websocket_version = require_version();
    function W3CWebSocket(uri, protocols) {
      var native_instance;
      if (protocols) {
        native_instance = new NativeWebSocket(uri, protocols);
      } else {
        native_instance = new NativeWebSocket(uri);
      }
      return native_instance;
    }
    if (NativeWebSocket) {
      ["CONNECTING", "OPEN", "CLOSING", "CLOSED"].forEach(function(prop) {
        Object.defineProperty(W3CWebSocket, prop, {
          get: function() {
            return NativeWebSocket[prop];
          }
        });
      });
    }
    module.exports = {
      "w3cwebsocket": NativeWebSocket ? W3CWebSocket : null,
      "version": websocket_version
    };
  }
});

// node_modules/@eleven-am/pondsocket-client/node/node.js
var require_node = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/node/node.js"(exports) {
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
    var WebSocket2 = require_browser().w3cwebsocket;
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

// node_modules/@eleven-am/pondsocket-client/index.js
var require_pondsocket_client = __commonJS({
  "node_modules/@eleven-am/pondsocket-client/index.js"(exports) {
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

// src/chat.js
var import_pondsocket_client = __toESM(require_pondsocket_client(), 1);

// src/session.js
var KEY = "pond-chat";
var stored = () => JSON.parse(sessionStorage.getItem(KEY) ?? "null");
async function signIn(username, adminCode) {
  const response = await fetch("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, admin_code: adminCode })
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  sessionStorage.setItem(KEY, JSON.stringify({ ...answer, adminCode }));
  return answer;
}
async function resume() {
  const session = stored();
  if (!session) return null;
  return await isKnown(session.token) ? session : again();
}
function again() {
  const { user, adminCode } = stored();
  return signIn(user.username, adminCode);
}
async function isKnown(token) {
  const response = await fetch(`/api/me?token=${encodeURIComponent(token)}`);
  return response.ok;
}
function forget() {
  sessionStorage.removeItem(KEY);
}

// src/chat.js
var Chat = class {
  /** `on` holds the callbacks, one for each thing that can happen. */
  constructor(token, on) {
    this.token = token;
    this.on = on;
    this.room = null;
    this.channel = null;
    const url = new URL("/api/socket", location.href);
    this.client = new import_pondsocket_client.PondClient(url.toString(), { token });
    this.off = [
      this.client.onConnectionChange((state) => this.connectionChanged(String(state).toLowerCase())),
      this.client.onError(() => this.check())
    ];
    this.on.connection("connecting");
    this.client.connect();
  }
  open(room) {
    this.channel?.leave();
    this.room = room;
    this.on.room(room);
    this.join();
  }
  rejoin() {
    this.channel.leave();
    this.join();
  }
  say(text) {
    this.channel.sendMessage("message", { text });
  }
  whisper(to, text) {
    this.channel.sendMessage("private_message", { to, text });
  }
  typing(isTyping) {
    this.channel.sendMessage("typing", { isTyping });
  }
  status(status) {
    this.channel.sendMessage("status_update", { status });
  }
  kick(userId) {
    this.channel.sendMessage("kick", { userId, reason: "An admin asked you to leave." });
  }
  close() {
    this.closed = true;
    this.off.forEach((unsubscribe) => unsubscribe());
    this.client.disconnect();
  }
  join() {
    const channel = this.client.createChannel(`/chat/${this.room}`, {});
    this.channel = channel;
    const mine = (handle) => (...args) => {
      if (this.channel === channel) handle(...args);
    };
    channel.onMessage(mine((event, payload) => this.received(event, payload)));
    channel.onUsersChange(mine((people) => this.on.people(people)));
    channel.join();
  }
  received(event, payload) {
    if (payload.code && payload.message) return this.on.problem(payload);
    switch (event) {
      case "welcome":
        return this.on.welcome(payload);
      case "message":
        return payload.from && this.on.message(payload);
      case "private_message":
        return payload.from && this.on.private(payload);
      case "typing":
        return payload.user && this.on.typing(payload.user, payload.isTyping);
      case "evicted":
        return this.on.kicked(payload.reason);
      case "user_evicted":
        return this.on.gone(payload.userId);
    }
  }
  connectionChanged(state) {
    this.on.connection(state === "connected" ? "connected" : "reconnecting");
    if (state !== "connected") this.check();
  }
  /** After a failure: perhaps the server does not know us any more. */
  async check() {
    if (this.checking || this.closed) return;
    this.checking = true;
    try {
      if (!await isKnown(this.token) && !this.closed) await this.on.unknown();
    } catch {
      this.on.connection("offline");
    }
    this.checking = false;
  }
};

// src/format.js
var time = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
var day = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
var clock = (at) => time.format(at);
var dayName = (at) => day.format(at);
function initials(name) {
  const words = name.trim().split(/\s+/).slice(0, 2);
  return words.map((word) => [...word][0].toUpperCase()).join("");
}
function hue(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) % 65521;
  return Math.round(sum * 137.508) % 360;
}

// src/view.js
var MAX_TEXT = 1e3;
var TYPING_PAUSE = 2e3;
var TYPING_EXPIRES = 5e3;
var GROUP_WITHIN = 5 * 60 * 1e3;
var byId = (id) => document.getElementById(id);
function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}
function avatar(user, status) {
  const node = element("span", "avatar", initials(user.username));
  node.style.setProperty("--hue", hue(user.id));
  node.setAttribute("aria-hidden", "true");
  if (status) node.dataset.status = status;
  return node;
}
var View = class {
  constructor(rooms) {
    this.rooms = rooms;
    this.seen = /* @__PURE__ */ new Set();
    this.typists = /* @__PURE__ */ new Map();
    this.people = [];
    this.target = null;
    this.wireSignIn();
    this.wireRooms();
    this.wireComposer();
    this.wireTheme();
    byId("status").addEventListener("change", (event) => this.onStatus(event.target.value));
    byId("sign-out").addEventListener("click", () => this.onSignOut());
    byId("rejoin").addEventListener("click", () => {
      byId("kicked").hidden = true;
      this.onRejoin();
    });
  }
  // ---- signing in ----
  showSignIn() {
    byId("sign-in").hidden = false;
    byId("app").hidden = true;
  }
  showSignInError(text) {
    const error = byId("sign-in-error");
    error.textContent = text;
    error.hidden = false;
  }
  wireSignIn() {
    byId("sign-in").hidden = true;
    byId("sign-in-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.onSignIn(byId("name").value, byId("admin-code").value);
    });
  }
  showChat(me) {
    this.me = me;
    byId("sign-in").hidden = true;
    byId("app").hidden = false;
    byId("my-name").textContent = me.username;
    byId("my-avatar").replaceWith(Object.assign(avatar(me), { id: "my-avatar" }));
    byId("text").focus();
  }
  // ---- rooms ----
  wireRooms() {
    for (const room of this.rooms) {
      const button = element("button", "", room.name);
      button.prepend(element("span", "hash", "#"));
      button.dataset.room = room.id;
      button.addEventListener("click", () => {
        this.toggleSidebar(false);
        this.onRoom(room.id);
      });
      const item = element("li");
      item.append(button);
      byId("rooms").append(item);
    }
    byId("menu").addEventListener("click", () => this.toggleSidebar(!byId("sidebar").classList.contains("open")));
    byId("scrim").addEventListener("click", () => this.toggleSidebar(false));
    addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.toggleSidebar(false);
        this.writeTo(null);
      }
    });
  }
  toggleSidebar(open) {
    byId("sidebar").classList.toggle("open", open);
    byId("scrim").hidden = !open;
    byId("menu").setAttribute("aria-expanded", open);
  }
  showRoom(id) {
    byId("room-name").textContent = this.rooms.find((room) => room.id === id)?.name ?? id;
    byId("room-info").textContent = "";
    byId("messages").replaceChildren();
    byId("kicked").hidden = true;
    byId("status").value = "online";
    this.seen.clear();
    this.typists.clear();
    this.last = null;
    this.writeTo(null);
    this.showPeople([]);
    this.renderTyping();
    for (const button of byId("rooms").querySelectorAll("button")) {
      button.setAttribute("aria-current", button.dataset.room === id);
    }
  }
  showConnection(state) {
    const badge = byId("connection");
    badge.dataset.state = state;
    badge.textContent = state;
  }
  // ---- people ----
  showPeople(people) {
    this.people = people.toSorted((a, b) => a.username.localeCompare(b.username));
    byId("count").textContent = people.length;
    byId("room-info").textContent = people.length === 1 ? "Only you are here" : people.length ? `${people.length} people are here` : "";
    byId("people").replaceChildren(...this.people.map((person) => this.person(person)));
    const mine = people.find((person) => person.id === this.me?.id);
    if (mine) {
      byId("my-avatar").dataset.status = mine.status;
      byId("status").value = mine.status;
    }
    if (this.target && !people.some((person) => person.id === this.target.id)) this.writeTo(null);
    for (const id of this.typists.keys()) if (!people.some((person) => person.id === id)) this.typists.delete(id);
    this.renderTyping();
  }
  person(person) {
    const row = element("li", "person");
    const isMe = person.id === this.me?.id;
    const who = element("button", "who");
    const name = element("span", "name", isMe ? `${person.username} (you)` : person.username);
    if (person.role === "admin") name.append(element("span", "role", "admin"));
    who.append(name, element("span", "how", person.status));
    who.disabled = isMe;
    if (!isMe) {
      who.title = `Write to ${person.username} privately`;
      who.addEventListener("click", () => {
        this.toggleSidebar(false);
        this.writeTo(person);
      });
    }
    row.dataset.user = person.id;
    row.append(avatar(person, person.status), who);
    if (this.me?.role === "admin" && !isMe) {
      const kick = element("button", "kick", "Remove");
      kick.setAttribute("aria-label", `Remove ${person.username} from the room`);
      kick.addEventListener("click", () => this.onKick(person));
      row.append(kick);
    }
    return row;
  }
  showGone(userId) {
    const person = this.people.find(({ id }) => id === userId);
    if (person) this.notice(`${person.username} was removed by an admin`);
  }
  showKicked(reason) {
    this.showPeople([]);
    byId("kicked-reason").textContent = reason;
    byId("kicked").hidden = false;
    byId("rejoin").focus();
  }
  // ---- messages ----
  showWelcome({ messages }) {
    messages.forEach((message) => this.addMessage(message));
  }
  addMessage(message, to = null) {
    if (this.seen.has(message.id)) return;
    this.seen.add(message.id);
    this.showTyping(message.from, false);
    const list = byId("messages");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    const mine = message.from.id === this.me.id;
    const day2 = dayName(message.at);
    if (this.last && dayName(this.last.at) !== day2) this.notice(day2);
    const grouped = this.last && !to && !this.last.to && this.last.from.id === message.from.id && message.at - this.last.at < GROUP_WITHIN;
    this.last = { ...message, to };
    const row = element("li", `message${grouped ? "" : " first"}${mine ? " mine" : ""}${to ? " private" : ""}`);
    const meta = element("p", "meta");
    meta.append(element("strong", "", message.from.username));
    if (to) meta.append(element("span", "tag", mine ? `privately to ${to.username} ` : "privately to you "));
    const time2 = element("time", "", clock(message.at));
    time2.dateTime = new Date(message.at).toISOString();
    meta.append(time2);
    row.append(avatar(message.from), meta, element("p", "body", message.text));
    list.append(row);
    if (atEnd || mine) list.scrollTop = list.scrollHeight;
  }
  notice(text) {
    byId("messages").append(element("li", "notice", text));
    this.last = null;
  }
  // ---- typing ----
  showTyping(who, isTyping) {
    clearTimeout(this.typists.get(who.id)?.timer);
    this.typists.delete(who.id);
    if (isTyping) {
      const timer = setTimeout(() => {
        this.typists.delete(who.id);
        this.renderTyping();
      }, TYPING_EXPIRES);
      this.typists.set(who.id, { name: who.username, timer });
    }
    this.renderTyping();
  }
  renderTyping() {
    const names = [...this.typists.values()].map(({ name }) => name);
    const text = names.length > 2 ? `${names.length} people are typing \u2026` : names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing \u2026` : "";
    byId("typing").textContent = text;
  }
  // ---- writing ----
  wireComposer() {
    const text = byId("text");
    text.addEventListener("input", () => {
      this.measure();
      this.noteTyping();
    });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        byId("composer").requestSubmit();
      }
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.stopTyping();
      this.onSend(text.value, this.target?.id);
      const length = [...text.value.trim()].length;
      if (length > 0 && length <= MAX_TEXT) text.value = "";
      this.measure();
      text.focus();
    });
    byId("private-end").addEventListener("click", () => this.writeTo(null));
  }
  measure() {
    const text = byId("text");
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
    const length = [...text.value].length;
    const counter = byId("length");
    counter.hidden = length < MAX_TEXT * 0.8;
    counter.textContent = `${length}/${MAX_TEXT}`;
    counter.classList.toggle("over", length > MAX_TEXT);
  }
  noteTyping() {
    if (this.target) return;
    clearTimeout(this.typingEnds);
    if (!byId("text").value) return this.stopTyping();
    if (!this.isTyping || Date.now() - this.isTyping > TYPING_PAUSE) {
      this.isTyping = Date.now();
      this.onTyping(true);
    }
    this.typingEnds = setTimeout(() => this.stopTyping(), TYPING_PAUSE);
  }
  stopTyping() {
    clearTimeout(this.typingEnds);
    if (this.isTyping) this.onTyping(false);
    this.isTyping = 0;
  }
  writeTo(person) {
    this.target = person;
    byId("private").hidden = !person;
    byId("private-name").textContent = person ? `Privately to ${person.username}` : "";
    byId("text").placeholder = person ? `Write to ${person.username}` : "Write a message";
    if (person) byId("text").focus();
  }
  toast(text) {
    const toast = element("p", "toast", text);
    byId("toasts").append(toast);
    setTimeout(() => toast.remove(), 5e3);
  }
  // ---- light and dark ----
  wireTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const show = (theme) => {
      document.documentElement.dataset.theme = theme;
    };
    const chosen = () => localStorage.getItem("theme");
    show(chosen() ?? (dark.matches ? "dark" : "light"));
    dark.addEventListener("change", () => {
      if (!chosen()) show(dark.matches ? "dark" : "light");
    });
    byId("theme").addEventListener("click", () => {
      const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      localStorage.setItem("theme", theme);
      show(theme);
    });
  }
};

// src/main.js
var ROOMS = [{ id: "general", name: "General" }, { id: "random", name: "Random" }, { id: "support", name: "Support" }];
var view = new View(ROOMS);
var chat = null;
view.onSignIn = async (username, adminCode) => {
  try {
    start(await signIn(username, adminCode));
  } catch (error) {
    view.showSignInError(error.message);
  }
};
view.onSignOut = () => {
  forget();
  chat?.close();
  location.reload();
};
view.onRoom = (room) => chat.open(room);
view.onSend = (text, to) => to ? chat.whisper(to, text) : chat.say(text);
view.onTyping = (isTyping) => chat.typing(isTyping);
view.onStatus = (status) => chat.status(status);
view.onKick = (user) => chat.kick(user.id);
view.onRejoin = () => chat.rejoin();
function start({ token, user }) {
  const room = chat?.room ?? ROOMS[0].id;
  chat?.close();
  view.showChat(user);
  chat = new Chat(token, {
    connection: (state) => view.showConnection(state),
    room: (id) => view.showRoom(id),
    welcome: (welcome) => view.showWelcome(welcome),
    message: (message) => view.addMessage(message),
    private: (message) => view.addMessage(message, message.to),
    people: (people) => view.showPeople(people),
    typing: (who, isTyping) => view.showTyping(who, isTyping),
    kicked: (reason) => view.showKicked(reason),
    gone: (userId) => view.showGone(userId),
    problem: (problem) => view.toast(problem.message),
    // The server has forgotten us, as it does when it is started anew: sign in again, with the same name.
    unknown: async () => start(await again())
  });
  chat.open(room);
}
var known = await resume();
if (known) start(known);
else view.showSignIn();

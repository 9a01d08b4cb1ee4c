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
    var ChannelState2;
    (function(ChannelState3) {
      ChannelState3["IDLE"] = "IDLE";
      ChannelState3["JOINING"] = "JOINING";
      ChannelState3["JOINED"] = "JOINED";
      ChannelState3["STALLED"] = "STALLED";
      ChannelState3["CLOSED"] = "CLOSED";
      ChannelState3["DECLINED"] = "DECLINED";
    })(ChannelState2 || (exports.ChannelState = ChannelState2 = {}));
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

// chat/page/src/chat.js
var import_pondsocket_client = __toESM(require_pondsocket_client());

// page/js/resume.js
var UNKNOWN = "unknown";
var Resume = class {
  #stamp;
  #onGap;
  /**
   * `onGap` is called before the first message behind a gap, with the reason: `trimmed`, `expired`, `epoch`, `ahead`,
   * `too_many` or `unproven`. `stamp` is the key that the server puts the position under.
   */
  constructor(params = {}, { stamp = "_pos", onGap = () => {
  } } = {}) {
    this.params = { ...params, $resume: "" };
    this.#stamp = stamp;
    this.#onGap = onGap;
  }
  /** Wraps the callback of `onMessage`. It does not get repeats. */
  messages(handle) {
    return (event, payload) => {
      const position = payload[this.#stamp];
      if (typeof position === "string") {
        if (isUpTo(position, this.params.$resume)) return;
        this.params.$resume = position;
      } else if (event === "ACKNOWLEDGE" && payload.position) this.#acknowledged(payload);
      else if (event === "RESYNC" && payload.position && payload.gap) {
        this.params.$resume = payload.position;
        this.#onGap(payload.gap);
        return;
      }
      handle(event, payload);
    };
  }
  #acknowledged({ position, recovered, gap, missed, replayed }) {
    if (!missed && !replayed) this.params.$resume = position;
    else if (!recovered) this.params.$resume = gap ? UNKNOWN : "";
    if (gap) this.#onGap(gap);
  }
};
function isUpTo(position, other) {
  const [[epoch, offset], [otherEpoch, otherOffset]] = [position.split("."), other.split(".")];
  return epoch === otherEpoch && Number(offset) <= Number(otherOffset);
}

// chat/page/src/session.js
var KEY = "pond-chat";
var stored = () => JSON.parse(sessionStorage.getItem(KEY));
var Refused = class extends Error {
};
async function signIn(username, adminCode) {
  const response = await fetch("/api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, adminCode })
  });
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer.message);
  sessionStorage.setItem(KEY, JSON.stringify({ ...answer, adminCode }));
  return answer;
}
function again() {
  const { user, adminCode } = stored();
  return signIn(user.username, adminCode);
}
async function resume() {
  const session = stored();
  if (!session) return null;
  try {
    return await isKnown(session.token) ? session : await again();
  } catch {
    return null;
  }
}
async function isKnown(token) {
  const response = await fetch("/api/me", { headers: { Authorization: `Bearer ${token}` } });
  return response.ok;
}
function forget() {
  sessionStorage.removeItem(KEY);
}

// chat/page/src/chat.js
var Chat = class {
  room = null;
  status = "online";
  /** The channel of the client, from the join to the leave. */
  channel = null;
  /** True from the welcome of the server until the connection ends. */
  inside = false;
  /** Messages that were written without a membership: `{ room, event, payload }`. */
  waiting = [];
  /** `on` has a callback for each event of the server. */
  constructor(token, on2) {
    this.on = on2;
    this.connect(token);
  }
  /** Connects with a token, in place of an existing connection. */
  connect(token) {
    this.disconnect();
    this.token = token;
    const client = new import_pondsocket_client.PondClient(new URL("/api/socket", location.href).href, { token });
    this.client = client;
    this.unsubscribe = [client.onConnectionChange((state) => this.connectionChanged(state)), client.onError(() => this.check())];
    if (this.channel) this.join();
    this.on.connection(this.welcomed ? "reconnecting" : "connecting");
    client.connect();
  }
  open(room) {
    this.channel?.leave();
    this.room = room;
    this.resume = new Resume({ status: this.status }, { onGap: () => this.on.gap() });
    this.join();
    this.reportWaiting();
  }
  /**
   * Says something to all, or privately to one. While we are not inside it waits. What is sent in the moments
   * before a broken connection is noticed is lost: for more than a chat, wait for the answer and send again.
   */
  say(text, to) {
    const [event, payload] = to ? ["private_message", { to: to.id, text }] : ["message", { text }];
    if (this.inside) return this.channel.sendMessage(event, payload);
    this.waiting.push({ room: this.room, event, payload });
    this.reportWaiting();
  }
  typing(isTyping) {
    if (this.inside) this.channel.sendMessage("typing", { isTyping });
  }
  setStatus(status) {
    this.status = status;
    if (!this.resume) return;
    this.resume.params.status = status;
    if (this.inside) this.channel.sendMessage("status_update", { status });
    else this.statusIsLate = true;
  }
  kick(userId) {
    if (this.inside) this.channel.sendMessage("kick", { userId });
  }
  close() {
    this.disconnect();
    this.closed = true;
  }
  /** Joins the room, also after a removal. */
  join() {
    this.inside = false;
    const channel = this.client.createChannel(`/chat/${this.room}`, this.resume.params);
    this.channel = channel;
    const mine = (handle) => (...args) => {
      if (this.channel === channel) handle(...args);
    };
    channel.onMessage(mine(this.resume.messages((event, payload) => this.received(event, payload))));
    channel.onUsersChange(mine((people2) => this.on.people(people2)));
    channel.onChannelStateChange(mine((state) => {
      if (state === import_pondsocket_client.ChannelState.DECLINED) this.on.problem("You cannot enter this room.");
    }));
    channel.join();
  }
  received(event, payload) {
    if (payload.code && payload.message) return this.on.problem(payload.message);
    switch (event) {
      case "welcome":
        return this.welcome();
      case "message":
      case "private_message":
        return payload.from && this.on.message(payload);
      case "typing":
        return this.on.typing(payload);
      case "user_evicted":
        return this.on.removed(payload.userId);
      case "evicted":
        return this.evicted(payload.reason);
    }
  }
  welcome() {
    this.inside = this.welcomed = true;
    this.on.welcome();
    if (this.statusIsLate) this.setStatus(this.status);
    this.statusIsLate = false;
    for (const said of this.waitingHere()) this.channel.sendMessage(said.event, said.payload);
    this.waiting = this.waiting.filter(({ room }) => room !== this.room);
    this.reportWaiting();
  }
  evicted(reason) {
    const channel = this.channel;
    this.channel = null;
    this.inside = false;
    channel.leave();
    this.on.kicked(reason);
  }
  waitingHere() {
    return this.waiting.filter(({ room }) => room === this.room);
  }
  reportWaiting() {
    this.on.waiting(this.waitingHere().map(({ payload }) => payload.text));
  }
  connectionChanged(state) {
    if (state === import_pondsocket_client.ConnectionState.CONNECTED) return this.on.connection("connected");
    this.inside = false;
    this.on.connection(this.welcomed ? "reconnecting" : "connecting");
    if (state === import_pondsocket_client.ConnectionState.DISCONNECTED) this.check();
  }
  /** Checks after a failure whether the server still knows the token. */
  async check() {
    if (this.checking || this.closed) return;
    this.checking = true;
    try {
      if (!await isKnown(this.token) && !this.closed) await this.on.unknown();
    } catch {
    } finally {
      this.checking = false;
    }
  }
  disconnect() {
    this.unsubscribe?.forEach((unsubscribe) => unsubscribe());
    this.client?.disconnect();
    this.inside = false;
  }
};

// page/js/dom.js
var byId = (id) => document.getElementById(id);
function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}
function iconButton(name, label, onClick) {
  const button = element("button", "icon-button", icon(name));
  button.type = "button";
  button.title = label;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", onClick);
  return button;
}

// page/js/typists.js
var EXPIRES = 5e3;
var PAUSE = 2500;
var Typists = class {
  constructor() {
    this.typing = /* @__PURE__ */ new Map();
  }
  reset() {
    this.keep([]);
  }
  /** Removes users who are not present any more. */
  keep(present) {
    for (const id of this.typing.keys()) {
      if (!present.some((person) => person.id === id)) this.stop(id);
    }
    this.draw();
  }
  set({ id, name }, isTyping) {
    this.stop(id);
    if (isTyping) {
      const expires = setTimeout(() => this.set({ id }, false), EXPIRES);
      this.typing.set(id, { name, expires });
    }
    this.draw();
  }
  stop(id) {
    clearTimeout(this.typing.get(id)?.expires);
    this.typing.delete(id);
  }
  draw() {
    const names = [...this.typing.values()].map(({ name }) => name);
    byId("typing").classList.toggle("active", names.length > 0);
    byId("typing-text").textContent = sentence(names);
  }
};
function sentence(names) {
  switch (names.length) {
    case 0:
      return "";
    case 1:
      return `${names[0]} is typing`;
    case 2:
      return `${names[0]} and ${names[1]} are typing`;
    default:
      return `${names.length} people are typing`;
  }
}
var OwnTyping = class {
  constructor(report) {
    this.report = report;
    this.reportedAt = 0;
  }
  typed() {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.stop(), PAUSE);
    if (Date.now() - this.reportedAt < PAUSE) return;
    this.reportedAt = Date.now();
    this.report(true);
  }
  stop() {
    clearTimeout(this.pause);
    if (this.reportedAt) this.report(false);
    this.reportedAt = 0;
  }
};

// chat/page/src/view/composer.js
var MAX_TEXT = 1e3;
var Composer = class {
  constructor(on2) {
    this.on = on2;
    this.target = null;
    this.typing = new OwnTyping(on2.typing);
    const text = byId("text");
    text.addEventListener("input", () => {
      this.measure();
      this.typed();
    });
    text.addEventListener("keydown", (event) => this.pressed(event));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("to-one-end").addEventListener("click", () => {
      this.writeTo(null);
      this.focus();
    });
  }
  reset() {
    this.typing.stop();
    this.writeTo(null);
    this.measure();
  }
  /** Not on a phone, where it opens the keyboard. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) byId("text").focus();
  }
  /** Sets the recipient of the next messages; `null` for all members. */
  writeTo(person) {
    this.target = person;
    byId("to-one").hidden = !person;
    byId("to-one-text").textContent = person ? `Only ${person.username} will see this` : "";
    byId("composer").classList.toggle("to-one", Boolean(person));
    byId("text").placeholder = person ? `Write to ${person.username}` : "Write a message";
    if (person) byId("text").focus();
  }
  /** Resets the recipient when that user has left. */
  keep(present) {
    if (this.target && !present.some(({ id }) => id === this.target.id)) this.writeTo(null);
  }
  pressed(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("composer").requestSubmit();
    } else if (event.key === "Escape") {
      this.writeTo(null);
    }
  }
  submit() {
    const text = byId("text");
    this.typing.stop();
    this.on.send(text.value, this.target);
    if ([...text.value.trim()].length <= MAX_TEXT) text.value = "";
    this.measure();
    text.focus();
  }
  /** Adapts the height to the text, and shows the length of a long one. */
  measure() {
    const text = byId("text");
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
    const length = [...text.value.trim()].length;
    byId("length").textContent = length > MAX_TEXT * 0.8 ? `${length} / ${MAX_TEXT}` : "";
    byId("length").classList.toggle("over", length > MAX_TEXT);
  }
  /** Reports typing, except of private messages, which other users must not notice. */
  typed() {
    if (this.target) return;
    if (byId("text").value) this.typing.typed();
    else this.typing.stop();
  }
};

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

// chat/page/src/view/kicked.js
var Kicked = class {
  constructor(on2) {
    byId("rejoin").addEventListener("click", on2.rejoin);
  }
  reset() {
    byId("kicked").hidden = true;
    byId("talk").inert = false;
  }
  show(reason) {
    byId("kicked-reason").textContent = reason;
    byId("kicked").hidden = false;
    byId("talk").inert = true;
    byId("rejoin").focus();
  }
};

// page/js/avatar.js
function avatar(name, status) {
  const node = element("span", "avatar", initials(name));
  node.style.setProperty("--hue", hueOf(name));
  node.setAttribute("aria-hidden", "true");
  if (status) node.dataset.status = status;
  return node;
}
function initials(name) {
  const words = name.trim().split(/\s+/).slice(0, 2);
  return words.map((word) => [...word][0].toUpperCase()).join("");
}
function hueOf(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return sum * 47 % 360;
}

// chat/page/src/view/me.js
var Me = class {
  constructor(on2) {
    byId("my-status").addEventListener("change", (event) => on2.status(event.target.value));
    byId("sign-out").addEventListener("click", on2.signOut);
  }
  meet(user) {
    this.user = user;
    byId("my-name").textContent = user.username;
    this.draw(byId("my-status").value);
  }
  /** Shows the status as other users see it. */
  show(present) {
    const mine = present.find(({ id }) => id === this.user.id);
    if (mine) this.draw(mine.status);
  }
  draw(status) {
    byId("my-avatar").replaceChildren(avatar(this.user.username, status));
    byId("my-status").value = status;
  }
};

// chat/page/src/view/messages.js
var GROUP_WITHIN = 5 * 60 * 1e3;
var MAX_SHOWN = 500;
var NEAR_END = 80;
var clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
var day = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });
var moment = new Intl.DateTimeFormat([], { dateStyle: "full", timeStyle: "medium" });
var Messages = class {
  constructor() {
    this.scroller = byId("scroller");
    byId("to-newest").addEventListener("click", () => this.scrollToEnd());
    this.scroller.addEventListener("scroll", () => {
      if (this.isAtEnd()) byId("to-newest").hidden = true;
    });
    this.wasAtEnd = true;
    this.scroller.addEventListener("scroll", () => {
      this.wasAtEnd = this.isAtEnd();
    });
    new ResizeObserver(() => {
      if (this.wasAtEnd) this.scrollToEnd();
    }).observe(this.scroller);
  }
  meet(user) {
    this.me = user;
  }
  reset() {
    byId("messages").replaceChildren();
    byId("to-newest").hidden = true;
    this.lastMessage = null;
    this.lastDay = null;
  }
  add(message) {
    this.addDay(message);
    this.append(this.row(message), message.from.id === this.me.id);
    this.lastMessage = message;
  }
  /** Shows a notice between the messages. */
  notice(text) {
    this.append(element("li", "notice", text));
    this.lastMessage = null;
  }
  /** Shows the messages that are not sent yet. */
  wait(texts) {
    byId("waiting").replaceChildren(...texts.map((text) => element("li", "message mine", element("p", "body", text))));
    if (texts.length) this.scrollToEnd();
  }
  addDay(message) {
    const name = day.format(message.at);
    if (name === this.lastDay) return;
    this.lastDay = name;
    this.notice(name);
  }
  row(message) {
    const mine = message.from.id === this.me.id;
    const classes = ["message", mine && "mine", message.to && "private", !this.continues(message) && "first"];
    const time = element("time", "", clock.format(message.at));
    time.dateTime = new Date(message.at).toISOString();
    time.title = moment.format(message.at);
    const meta = element("p", "meta", element("strong", "", message.from.username));
    if (message.from.role === "admin") meta.append(element("span", "role", "admin"));
    if (message.to) meta.append(element("span", "tag", icon("lock"), mine ? `only for ${message.to.username}` : "only for you"));
    meta.append(time);
    return element("li", classes.filter(Boolean).join(" "), avatar(message.from.username), meta, element("p", "body", message.text));
  }
  /** Returns whether a message belongs to the last group. */
  continues(message) {
    const last2 = this.lastMessage;
    return last2 && last2.from.id === message.from.id && last2.to?.id === message.to?.id && message.at - last2.at < GROUP_WITHIN;
  }
  append(row, follow = this.isAtEnd()) {
    const list = byId("messages");
    list.append(row);
    while (list.childElementCount > MAX_SHOWN) list.firstElementChild.remove();
    if (follow) this.scrollToEnd();
    else byId("to-newest").hidden = false;
  }
  isAtEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
  }
  scrollToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    byId("to-newest").hidden = true;
  }
};

// chat/page/src/view/people.js
var People = class {
  constructor(on2) {
    this.on = on2;
    this.names = /* @__PURE__ */ new Map();
  }
  meet(user) {
    this.me = user;
  }
  reset() {
    this.show([]);
  }
  show(present) {
    const focused = document.activeElement?.closest(".person")?.dataset.user;
    const sorted = present.toSorted((a, b) => (b.id === this.me.id) - (a.id === this.me.id) || a.username.localeCompare(b.username));
    sorted.forEach((person) => this.names.set(person.id, person.username));
    byId("people").replaceChildren(...sorted.map((person) => this.row(person)));
    byId("people-count").textContent = present.length || "";
    byId("room-info").textContent = roomInfo(present.length);
    if (focused) byId("people").querySelector(`[data-user="${focused}"] button`)?.focus();
  }
  /** The name of a present or former user of the room. */
  nameOf(id) {
    return this.names.get(id) ?? "Somebody";
  }
  row(person) {
    const isMe = person.id === this.me.id;
    const name = element("span", "name-line", element("span", "name", person.username));
    if (person.role === "admin") name.append(element("span", "role", "admin"));
    const text = element("span", "person-text", name, element("span", "how", isMe ? `${person.status} \xB7 you` : person.status));
    const row = element("li", "person");
    row.dataset.user = person.id;
    row.append(isMe ? element("div", "who", avatar(person.username, person.status), text) : this.whisperButton(person, text));
    if (this.me.role === "admin" && !isMe) {
      const kick = iconButton("kick", `Remove ${person.username} from the room`, () => this.on.kick(person));
      kick.classList.add("kick");
      row.append(kick);
    }
    return row;
  }
  whisperButton(person, text) {
    const button = element("button", "who", avatar(person.username, person.status), text, icon("lock"));
    button.type = "button";
    button.title = `Write to ${person.username} privately`;
    button.addEventListener("click", () => this.on.whisper(person));
    return button;
  }
};
function roomInfo(count) {
  if (count === 0) return "\xA0";
  return count === 1 ? "Only you are here" : `${count} people are here`;
}

// chat/page/src/view/rooms.js
var KNOWN = ["general", "random", "support"];
function chosenRoom() {
  return roomId(decodeURIComponent(location.hash.slice(1))) || KNOWN[0];
}
var Rooms = class {
  constructor() {
    byId("new-room").addEventListener("submit", (event) => {
      event.preventDefault();
      const id = roomId(byId("new-room-name").value);
      byId("new-room").reset();
      if (id) location.hash = id;
    });
    KNOWN.forEach((id) => this.add(id));
  }
  show(id) {
    if (!this.link(id)) this.add(id);
    for (const link of byId("rooms").querySelectorAll("a")) link.removeAttribute("aria-current");
    this.link(id).setAttribute("aria-current", "page");
    byId("room-name").textContent = nameOf(id);
    document.title = `${nameOf(id)} \u2013 Pond chat`;
  }
  add(id) {
    const hash = element("span", "hash", "#");
    hash.setAttribute("aria-hidden", "true");
    const link = element("a", "", hash, nameOf(id));
    link.href = `#${id}`;
    link.dataset.room = id;
    byId("rooms").append(element("li", "", link));
  }
  link(id) {
    return byId("rooms").querySelector(`[data-room="${id}"]`);
  }
};
function roomId(name) {
  return name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 32).replace(/^-+|-+$/g, "");
}
function nameOf(id) {
  return id[0].toUpperCase() + id.slice(1).replaceAll("-", " ");
}

// chat/page/src/view/sidebar.js
var Sidebar = class {
  constructor() {
    byId("menu").addEventListener("click", () => this.toggle(true));
    byId("scrim").addEventListener("click", () => this.close());
    byId("sidebar").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }
  close() {
    if (!byId("sidebar").classList.contains("open")) return;
    this.toggle(false);
    byId("menu").focus();
  }
  toggle(open) {
    byId("sidebar").classList.toggle("open", open);
    byId("menu").setAttribute("aria-expanded", open);
    if (open) byId("sidebar").querySelector("a").focus();
  }
};

// chat/page/src/view/sign-in.js
var SignIn = class {
  constructor(on2) {
    byId("sign-in-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      byId("sign-in-error").textContent = "";
      try {
        await on2.signIn(byId("name").value, byId("admin-code").value);
      } catch (error) {
        byId("sign-in-error").textContent = error instanceof Refused ? error.message : "The server does not answer.";
        byId("name").focus();
      }
    });
  }
  show() {
    byId("sign-in").hidden = false;
    byId("name").focus();
  }
  hide() {
    byId("sign-in").hidden = true;
    byId("app").hidden = false;
  }
};

// page/js/theme.js
var KEY2 = "pond-theme";
var system = matchMedia("(prefers-color-scheme: dark)");
function wireTheme() {
  apply(localStorage.getItem(KEY2));
  for (const button of document.querySelectorAll("[data-theme-toggle]")) button.addEventListener("click", toggle);
}
function toggle() {
  const root = document.documentElement;
  const wanted = (root.dataset.theme ?? systemTheme()) === "dark" ? "light" : "dark";
  if (wanted === systemTheme()) localStorage.removeItem(KEY2);
  else localStorage.setItem(KEY2, wanted);
  apply(localStorage.getItem(KEY2));
}
function apply(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
function systemTheme() {
  return system.matches ? "dark" : "light";
}

// page/js/toasts.js
var SHOWN_FOR = 6e3;
var AT_ONCE = 3;
function toast(text) {
  for (const note2 of [...byId("toasts").children]) if (note2.dataset.text === text) note2.remove();
  const note = element("div", "toast", element("p", "", text), iconButton("close", "Dismiss", () => note.remove()));
  note.dataset.text = text;
  byId("toasts").append(note);
  while (byId("toasts").childElementCount > AT_ONCE) byId("toasts").firstElementChild.remove();
  setTimeout(() => note.remove(), SHOWN_FOR);
}

// chat/page/src/main.js
var chat = null;
wireTheme();
var sidebar = new Sidebar();
var rooms = new Rooms();
var messages = new Messages();
var typists = new Typists();
var me = new Me({ status: (status) => chat.setStatus(status), signOut });
var people = new People({ whisper: (person) => {
  sidebar.close();
  composer.writeTo(person);
}, kick: (person) => chat.kick(person.id) });
var composer = new Composer({ send: (text, to) => chat.say(text, to), typing: (isTyping) => chat.typing(isTyping) });
var kicked = new Kicked({ rejoin: () => {
  kicked.reset();
  chat.join();
} });
var signIn2 = new SignIn({ signIn: async (...answers) => start(await signIn(...answers)) });
var on = {
  connection: showConnection,
  welcome: () => composer.focus(),
  gap: () => messages.notice("Some messages are missing here"),
  message: (message) => {
    typists.set(message.from, false);
    messages.add(message);
  },
  waiting: (texts) => messages.wait(texts),
  people: (present) => {
    people.show(present);
    me.show(present);
    typists.keep(present);
    composer.keep(present);
  },
  typing: ({ user, isTyping }) => typists.set({ id: user.id, name: user.username }, isTyping),
  removed: (userId) => messages.notice(`${people.nameOf(userId)} was removed from the room`),
  kicked: (reason) => {
    people.reset();
    kicked.show(reason);
  },
  problem: toast,
  // A restarted server knows no tokens, so the page signs in again with the same name.
  async unknown() {
    try {
      const { token, user } = await again();
      meet(user);
      chat.connect(token);
    } catch (error) {
      if (error instanceof Refused) signOut();
      else throw error;
    }
  }
};
var known = await resume();
if (known) start(known);
else signIn2.show();
function start({ token, user }) {
  signIn2.hide();
  meet(user);
  chat = new Chat(token, on);
  enter();
  chat.open(chosenRoom());
  addEventListener("hashchange", () => {
    sidebar.close();
    enter();
    chat.open(chosenRoom());
  });
}
function meet(user) {
  for (const part of [me, people, messages]) part.meet(user);
}
function enter() {
  rooms.show(chosenRoom());
  for (const part of [people, messages, typists, composer, kicked]) part.reset();
}
function signOut() {
  forget();
  chat.close();
  location.reload();
}

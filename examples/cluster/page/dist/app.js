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

// cluster/page/src/nodes.js
var PACE = 1e3;
var Nodes = class {
  /** `show` is called with all nodes, `[{ name, state, pid?, url? }]`; with `null` when the launcher does not answer. */
  constructor(show) {
    this.show = show;
    this.asked = this.shown = 0;
    this.isAlone = false;
    this.look();
    const timer = setInterval(() => this.isAlone ? clearInterval(timer) : this.look(), PACE);
  }
  /** A node that is up, or the load balancer. Fails if no node is up. */
  async next() {
    if (this.isAlone) return { url: new URL("/api/socket", location.href).href };
    return ask("/nodes/next");
  }
  kill(name) {
    return this.update(ask(`/nodes/${name}/kill`, { method: "POST" }));
  }
  start(name) {
    return this.update(ask(`/nodes/${name}/start`, { method: "POST" }));
  }
  async look() {
    if (this.isAlone) return;
    return this.update(ask("/nodes"));
  }
  /** Shows an answer, unless that of a later query has been shown already. */
  async update(answer) {
    const number = ++this.asked;
    const nodes2 = await answer.catch((error) => {
      this.isAlone ||= error.status === 404;
      return null;
    });
    if (number < this.shown) return;
    this.shown = number;
    this.show(nodes2);
  }
};
async function ask(path, how) {
  const answer = await fetch(path, how);
  if (!answer.ok) throw Object.assign(new Error(`${path}: ${answer.status}`), { status: answer.status });
  return answer.json();
}

// cluster/page/src/pond.js
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

// cluster/page/src/tally.js
var Tally = class {
  received = 0;
  missing = 0;
  repeated = 0;
  /** The position of the last message: the epoch and the offset of the channel's history. */
  #epoch = null;
  #offset = 0;
  note(position) {
    const [epoch, digits] = position.split(".");
    const offset = Number(digits);
    if (epoch === this.#epoch && offset <= this.#offset) {
      this.repeated++;
      return;
    }
    if (epoch === this.#epoch) this.missing += offset - this.#offset - 1;
    this.received++;
    this.#epoch = epoch;
    this.#offset = offset;
  }
  /** The page was told that it cannot get all: the next position may be any. */
  skip() {
    this.#epoch = null;
  }
};

// cluster/page/src/pond.js
var PAUSE = 300;
var PATIENCE = 3e3;
var Pond = class {
  /** The channel, from the acknowledgement to the end of the connection. */
  channel = null;
  /** Messages that were sent and not received back: `id -> text`. A killed node may have lost them, so they are sent again to the next one. */
  unconfirmed = /* @__PURE__ */ new Map();
  shown = /* @__PURE__ */ new Set();
  tally = new Tally();
  /** The position of this page in the channel, which is the same on all nodes. */
  resume = new Resume({}, { onGap: () => this.tally.skip() });
  /** `me` has a name and a token; `nextNode` returns a node that is up; `on` has a callback for each event that the page shows. */
  constructor(me2, nextNode, on) {
    this.me = me2;
    this.nextNode = nextNode;
    this.on = on;
  }
  /** Stays in the channel until the name is refused. */
  async stay() {
    let failures = 0;
    for (this.isRefused = false; !this.isRefused; ) {
      this.on.node(null);
      if (failures > 1) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      const node = await this.nextNode().catch(() => null);
      const wasIn = node && await this.visit(node);
      failures = wasIn ? 0 : failures + 1;
    }
    this.on.refused();
  }
  say(text) {
    const id = crypto.randomUUID();
    this.unconfirmed.set(id, text);
    this.on.unconfirmed([...this.unconfirmed.values()]);
    this.channel?.sendMessage("message", { id, text });
  }
  typing(isTyping) {
    this.channel?.sendMessage("typing", { isTyping });
  }
  /** Joins the channel on a node, and completes when the connection ends. Returns whether the join was accepted. */
  visit(node) {
    return new Promise((resolve) => {
      let wasIn = false;
      let where = node.name;
      const { name, token } = this.me;
      const client = new import_pondsocket_client.PondClient(node.url, { name, token }, { connectionTimeout: PATIENCE });
      const channel = client.createChannel("/pond", this.resume.params);
      channel.onUsersChange((people2) => {
        this.on.people(people2);
        where = node.name ?? people2.find(({ id }) => id === name.toLowerCase())?.node;
        if (where && this.channel === channel) this.on.node(where);
      });
      const received = this.resume.messages((event, message) => {
        if (event === "message") this.received(message);
      });
      channel.onMessage((event, message) => {
        if (message._pos) this.tally.note(message._pos);
        received(event, message);
        this.on.tally(this.tally);
      });
      channel.onMessageEvent("typing", ({ user, isTyping }) => this.on.typing(user, isTyping));
      channel.onChannelStateChange((state) => {
        if (state === import_pondsocket_client.ChannelState.DECLINED) {
          this.isRefused = true;
          client.disconnect();
        }
        if (state !== import_pondsocket_client.ChannelState.JOINED) return;
        wasIn = true;
        this.entered(channel);
        if (where) this.on.node(where);
      });
      channel.join();
      client.connect();
      const unsubscribe = client.onConnectionChange((state) => {
        if (state !== import_pondsocket_client.ConnectionState.DISCONNECTED) return;
        unsubscribe();
        client.disconnect();
        this.channel = null;
        resolve(wasIn);
      });
    });
  }
  entered(channel) {
    this.channel = channel;
    for (const [id, text] of this.unconfirmed) channel.sendMessage("message", { id, text });
  }
  received(message) {
    this.unconfirmed.delete(message.id);
    this.on.unconfirmed([...this.unconfirmed.values()]);
    if (this.shown.has(message.id)) return;
    this.shown.add(message.id);
    this.on.message(message);
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

// page/js/typists.js
var EXPIRES = 5e3;
var PAUSE2 = 2500;
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
    this.pause = setTimeout(() => this.stop(), PAUSE2);
    if (Date.now() - this.reportedAt < PAUSE2) return;
    this.reportedAt = Date.now();
    this.report(true);
  }
  stop() {
    clearTimeout(this.pause);
    if (this.reportedAt) this.report(false);
    this.reportedAt = 0;
  }
};

// cluster/page/src/view/composer.js
var Composer = class {
  /** `on` has `say`, which takes a text, and `typing`. */
  constructor(on) {
    const typing = new OwnTyping(on.typing);
    byId("text").addEventListener("input", () => {
      if (byId("text").value) typing.typed();
      else typing.stop();
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = byId("text").value.trim();
      typing.stop();
      if (text) on.say(text);
      byId("text").value = "";
      byId("text").focus();
    });
  }
  /** Not on a phone, where it opens the keyboard. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) byId("text").focus();
  }
};

// cluster/page/src/view/chip.js
function chip(node) {
  const shown = element("span", "chip", node);
  shown.dataset.node = node;
  return shown;
}

// cluster/page/src/view/connection.js
function showNode(name) {
  const shown = byId("connection");
  shown.dataset.state = name ? "connected" : "looking";
  shown.replaceChildren(...name ? ["Served by ", chip(name)] : ["Looking for a node\u2026"]);
}
function showTally({ received, missing, repeated }) {
  const shown = byId("tally");
  Object.assign(shown.dataset, { received, missing, repeated });
  shown.textContent = `${received} received, ${missing || "nothing"} missing, ${repeated || "nothing"} twice`;
}

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

// cluster/page/src/view/messages.js
var MAX_SHOWN = 300;
var NEAR_END = 80;
var clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
var Messages = class {
  last = null;
  /** `isMe` returns whether a person is the user of this page. */
  constructor(isMe2) {
    this.isMe = isMe2;
    this.scroller = byId("scroller");
    this.scroller.addEventListener("scroll", () => {
      this.atEnd = this.isAtEnd();
    });
    new ResizeObserver(() => {
      if (this.atEnd ?? true) this.scrollToEnd();
    }).observe(this.scroller);
  }
  add(message) {
    const mine = this.isMe(message.from);
    const goesOn = this.last?.from.id === message.from.id && this.last.from.node === message.from.node;
    const time = element("time", "", clock.format(message.at));
    time.dateTime = new Date(message.at).toISOString();
    const meta = element("p", "meta", element("strong", "", message.from.name), chip(message.from.node), time);
    const classes = ["message", mine ? "mine" : "", goesOn ? "" : "first"].join(" ");
    this.append(element("li", classes, avatar(message.from.name), meta, element("p", "body", message.text)), mine || this.isAtEnd());
    this.last = message;
  }
  /** Shows a notice between the messages. */
  notice(...parts) {
    this.append(element("li", "notice", ...parts));
    this.last = null;
  }
  /** Shows the messages that were not received back yet. */
  unconfirmed(texts) {
    byId("unconfirmed").replaceChildren(...texts.map((text) => element("li", "message mine", element("p", "body", text))));
    if (texts.length) this.scrollToEnd();
  }
  append(row, follow = this.isAtEnd()) {
    const list = byId("messages");
    list.append(row);
    while (list.childElementCount > MAX_SHOWN) list.firstElementChild.remove();
    if (follow) this.scrollToEnd();
  }
  isAtEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
  }
  scrollToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
};

// cluster/page/src/view/nodes.js
var SAID = { up: "up", down: "down", starting: "starting\u2026" };
var NodeCards = class {
  cards = /* @__PURE__ */ new Map();
  people = [];
  /** `on` has `kill` and `start`, which take a name and complete when the node has ended or is up. */
  constructor(on) {
    this.on = on;
  }
  /** Shows the nodes; `null` if their states are unknown. */
  show(nodes2) {
    document.body.classList.toggle("stopped", !nodes2);
    for (const node of nodes2 ?? []) {
      if (!this.cards.has(node.name)) this.add(node.name);
      this.cards.get(node.name).show(node);
    }
    this.count();
  }
  /** Marks the node that serves this page; `null` for none. */
  serves(name) {
    for (const [each, card] of this.cards) card.root.classList.toggle("serves", each === name);
    this.serving = name;
  }
  present(people2) {
    this.people = people2;
    this.count();
  }
  add(name) {
    const card = new Card(name, this.on);
    card.root.classList.toggle("serves", name === this.serving);
    this.cards.set(name, card);
    byId("nodes").append(card.root);
  }
  count() {
    for (const [name, card] of this.cards) card.count(this.people.filter(({ node }) => node === name).length);
  }
};
var Card = class {
  constructor(name, on) {
    this.name = name;
    this.on = on;
    this.how = element("p", "node-how");
    this.crowd = element("p", "node-crowd");
    this.button = element("button", "node-button");
    this.button.type = "button";
    this.button.addEventListener("click", () => this.pressed());
    const title = element("h3", "node-name", name, element("span", "yours", "serves you"));
    this.root = element("li", "node", element("div", "node-text", title, this.how, this.crowd), this.button);
    this.root.dataset.node = name;
  }
  show({ state, pid }) {
    this.state = state;
    this.root.dataset.state = state;
    this.how.textContent = pid ? `${SAID[state]}, process ${pid}` : SAID[state];
    const verb = state === "up" ? "Kill" : "Start";
    this.button.textContent = verb;
    this.button.setAttribute("aria-label", `${verb} node ${this.name}`);
    this.button.disabled = state === "starting" || Boolean(this.busy);
  }
  count(people2) {
    this.crowd.textContent = people2 === 1 ? "1 person" : `${people2} people`;
  }
  async pressed() {
    this.busy = this.button.disabled = true;
    await (this.state === "up" ? this.on.kill(this.name) : this.on.start(this.name));
    this.busy = false;
    this.button.disabled = this.state === "starting";
  }
};

// cluster/page/src/view/people.js
var People = class {
  /** The users by id; `null` before the first presence message. */
  known = null;
  /** `isMe` returns whether a person is the user of this page; `notice` shows a line, given in parts. */
  constructor(isMe2, notice) {
    this.isMe = isMe2;
    this.notice = notice;
  }
  show(present) {
    const before = this.known;
    this.known = new Map(present.map((person) => [person.id, person]));
    if (before) this.showChanges(before);
    const { isMe: isMe2 } = this;
    const sorted = present.toSorted((a, b) => isMe2(b) - isMe2(a) || a.name.localeCompare(b.name));
    byId("people").replaceChildren(...sorted.map((person) => this.row(person, isMe2(person))));
    byId("people-count").textContent = present.length;
  }
  row(person, isMe2) {
    const name = element("span", "name", person.name);
    const row = element("li", "person", avatar(person.name), name, isMe2 ? element("span", "you", "you") : "", chip(person.node));
    row.dataset.user = person.id;
    return row;
  }
  showChanges(before) {
    for (const person of this.known.values()) {
      const was = before.get(person.id);
      if (!was) this.notice(`${person.name} is here, on `, chip(person.node));
      else if (was.node !== person.node) this.notice(this.subject(person), " on ", chip(person.node), " now");
    }
    for (const person of before.values()) {
      if (!this.known.has(person.id)) this.notice(`${person.name} has left`);
    }
  }
  subject(person) {
    return this.isMe(person) ? "You are" : `${person.name} is`;
  }
};

// page/js/me.js
var COLOURS = ["Amber", "Azure", "Coral", "Golden", "Green", "Ivory", "Olive", "Rosy", "Silver", "Violet"];
var pick = (words) => words[Math.floor(Math.random() * words.length)];
var Me = class {
  /** `key` is the key in the storage, `nouns` the second words of suggested names. */
  constructor(key, nouns) {
    this.key = key;
    this.kept = JSON.parse(sessionStorage.getItem(key)) ?? {};
    this.kept.name ??= `${pick(COLOURS)} ${pick(nouns)}`;
    this.kept.token ??= crypto.randomUUID();
    this.keep();
  }
  get name() {
    return this.kept.name;
  }
  set name(name) {
    this.kept.name = name;
    this.keep();
  }
  /** The secret by which the server recognises this user. */
  get token() {
    return this.kept.token;
  }
  keep() {
    sessionStorage.setItem(this.key, JSON.stringify(this.kept));
  }
};

// page/js/start.js
function wireStart(name, start) {
  const longest = byId("name").maxLength;
  const begin = (chosen) => {
    byId("start").hidden = true;
    document.activeElement?.blur();
    start(chosen);
  };
  const ask3 = (problem = "") => {
    byId("start").hidden = false;
    byId("start-problem").textContent = problem;
    byId("name").select();
  };
  byId("name").value = name;
  byId("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(byId("name").value.trim() || name);
  });
  const asked = new URLSearchParams(location.search).get("name")?.trim().slice(0, longest);
  if (asked) {
    byId("name").value = asked;
    begin(asked);
  } else {
    ask3();
  }
  return ask3;
}

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

// cluster/page/src/main.js
var me = new Me("pond-cluster", ["Carp", "Dragonfly", "Duck", "Frog", "Heron", "Kingfisher", "Newt", "Otter", "Swan", "Turtle"]);
var isMe = ({ id }) => id === me.name.toLowerCase();
var messages = new Messages(isMe);
var people = new People(isMe, (...parts) => messages.notice(...parts));
var typists = new Typists();
var cards = new NodeCards({ kill: (name) => nodes.kill(name), start: (name) => nodes.start(name) });
var nodes = new Nodes((shown) => {
  byId("nodes-section").hidden = nodes.isAlone;
  cards.show(shown);
});
var pond = new Pond(me, () => nodes.next(), {
  node: (name) => {
    showNode(name);
    cards.serves(name);
    if (!name) nodes.look();
  },
  people: (present) => {
    people.show(present);
    cards.present(present);
    typists.keep(present);
  },
  message: (message) => {
    typists.set(message.from, false);
    messages.add(message);
  },
  typing: (user, isTyping) => typists.set(user, isTyping),
  tally: showTally,
  unconfirmed: (texts) => messages.unconfirmed(texts),
  refused: () => ask2("This name is in use. Choose another one.")
});
wireTheme();
var composer = new Composer({ say: (text) => pond.say(text), typing: (isTyping) => pond.typing(isTyping) });
var ask2 = wireStart(me.name, (name) => {
  me.name = name;
  composer.focus();
  pond.stay();
});

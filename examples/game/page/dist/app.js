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

// game/page/src/autopilot.js
var LOOKS = 200;
var TURNING_RADIUS = 46;
var Autopilot = class {
  isOn = false;
  constructor(motion2, steer) {
    this.motion = motion2;
    this.steer = steer;
  }
  set(isOn) {
    if (isOn === this.isOn) return;
    this.isOn = isOn;
    clearInterval(this.timer);
    if (isOn) this.timer = setInterval(() => this.look(), LOOKS);
  }
  look() {
    const { crumbs, latest, me: me2 } = this.motion;
    const mine = latest.get(me2);
    if (!mine) return;
    let nearest = { far: Infinity };
    for (let at = 0; at < crumbs.length; at += 2) {
      const [x, y] = [crumbs[at] - mine.x, crumbs[at + 1] - mine.y];
      const far = Math.hypot(x, y);
      if (far < nearest.far && isInReach(x, y, mine.heading)) nearest = { far, angle: Math.atan2(y, x) };
    }
    this.steer({ angle: nearest.angle ?? null, dash: mine.energy > 0.95 });
  }
};
function isInReach(x, y, heading) {
  const ahead = x * Math.cos(heading) + y * Math.sin(heading);
  const aside = Math.abs(y * Math.cos(heading) - x * Math.sin(heading));
  return Math.hypot(ahead, aside - TURNING_RADIUS) >= TURNING_RADIUS;
}

// game/page/src/controls.js
var KEYS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  a: [-1, 0],
  d: [1, 0],
  w: [0, -1],
  s: [0, 1]
};
var DEAD = 10;
var Controls = class {
  isOff = false;
  keys = /* @__PURE__ */ new Set();
  dashing = false;
  /** The steering pointer: its id, and the point at which it was pressed. */
  stick = null;
  angle = null;
  constructor(steer) {
    this.steer = steer;
  }
  /** `taken` is called when the player steers or dashes. */
  wire(surface, dash, taken) {
    this.taken = taken;
    addEventListener("keydown", (event) => this.key(event, true));
    addEventListener("keyup", (event) => this.key(event, false));
    addEventListener("blur", () => {
      this.keys.clear();
      this.dashing = false;
      this.stick = this.angle = null;
      this.report();
    });
    surface.addEventListener("pointerdown", (event) => this.down(event, surface));
    surface.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) surface.addEventListener(end, (event) => this.up(event));
    for (const begin of ["pointerdown"]) dash.addEventListener(begin, () => this.dash(true));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) dash.addEventListener(end, () => this.dash(false));
  }
  /** Sends the course again, after a reconnect for example. */
  again() {
    this.told = void 0;
    this.report();
  }
  key(event, isDown) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === " ") {
      if (event.target.closest?.("button")) return;
      event.preventDefault();
      return this.dash(isDown);
    }
    if (!KEYS[key]) return;
    event.preventDefault();
    if (isDown) this.keys.add(key);
    else this.keys.delete(key);
    const [x, y] = [...this.keys].reduce(([x2, y2], key2) => [x2 + KEYS[key2][0], y2 + KEYS[key2][1]], [0, 0]);
    this.angle = x || y ? Math.atan2(y, x) : null;
    if (isDown) this.taken();
    this.report();
  }
  down(event, surface) {
    this.taken();
    if (this.stick) return this.dash(true);
    surface.setPointerCapture(event.pointerId);
    const isMouse = event.pointerType === "mouse";
    const [x, y] = isMouse ? [surface.clientWidth / 2, surface.clientHeight / 2] : [event.clientX, event.clientY];
    this.stick = { id: event.pointerId, x, y, isMouse };
    this.move(event);
  }
  move(event) {
    if (event.pointerId !== this.stick?.id) return;
    const [x, y] = [event.clientX - this.stick.x, event.clientY - this.stick.y];
    Object.assign(this.stick, { dx: x, dy: y });
    if (Math.hypot(x, y) < DEAD) return;
    this.angle = Math.atan2(y, x);
    this.report();
  }
  up(event) {
    if (event.pointerId !== this.stick?.id) return this.dash(false);
    this.stick = this.angle = null;
    this.dash(false);
  }
  dash(isOn) {
    if (isOn) this.taken();
    this.dashing = isOn;
    this.report();
  }
  report() {
    if (this.isOff) return;
    const course = { angle: this.angle, dash: this.dashing };
    const told = JSON.stringify(course);
    if (told === this.told) return;
    this.told = told;
    this.steer(course);
  }
};

// game/page/src/game.js
var import_pondsocket_client = __toESM(require_pondsocket_client());
var PING_EVERY = 1e3;
var PINGS = 5;
var STEER_EVERY = 50;
var Game = class {
  isIn = false;
  wasIn = false;
  pings = [];
  /** `on` has a callback for each event of the server. */
  constructor(me2, on2) {
    this.on = on2;
    const client = new import_pondsocket_client.PondClient(new URL("/api/socket", location.href).href, me2, { maxReconnectDelay: 4e3 });
    this.channel = client.createChannel("/pond");
    this.channel.onMessage((event, payload) => this.received(event, payload));
    this.channel.onUsersChange((players) => players.forEach(on2.player));
    this.channel.onJoin(on2.player);
    this.channel.onChannelStateChange((state) => {
      if (state === import_pondsocket_client.ChannelState.DECLINED) on2.problem("The pond is full. Try again later.");
    });
    this.channel.join();
    client.onConnectionChange((state) => this.connectionChanged(state));
    client.connect();
    setInterval(() => this.ping(), PING_EVERY);
  }
  /** Sends the course: the latest one, at most as often as the server accepts it. */
  steer(course) {
    this.course = course;
    if (this.steering || !this.isIn) return;
    this.channel.sendMessage("steer", course);
    this.steering = setTimeout(() => {
      this.steering = null;
      if (this.course !== course) this.steer(this.course);
    }, STEER_EVERY);
  }
  ping() {
    if (this.isIn) this.channel.sendMessage("ping", { at: performance.now() });
  }
  received(event, payload) {
    switch (event) {
      case "tick":
        return this.on.tick(payload);
      case "score_update":
        return this.on.score(payload);
      case "achievement":
        return this.on.achievement(payload);
      case "leaderboard":
        return this.on.leaderboard(payload);
      case "ping":
        return this.pong(payload);
      case "welcome":
        return this.welcome(payload);
      default:
        return payload.message && this.on.problem(payload.message);
    }
  }
  welcome(payload) {
    this.isIn = this.wasIn = true;
    this.on.welcome(payload);
    this.ping();
  }
  pong({ at }) {
    this.pings = [...this.pings, performance.now() - at].slice(-PINGS);
    this.on.latency(this.pings.toSorted((a, b) => a - b)[this.pings.length >> 1]);
  }
  connectionChanged(state) {
    if (state === import_pondsocket_client.ConnectionState.CONNECTED) return this.on.connection("connected");
    this.isIn = false;
    this.pings = [];
    this.on.connection(this.wasIn ? "reconnecting" : "connecting");
  }
};

// game/page/src/motion.js
var DELAY = 120;
var BEYOND = 150;
var KEPT = 12;
var Motion = class {
  me = null;
  /** The content of the last tick: a map of fish by id, and the crumbs. */
  latest = /* @__PURE__ */ new Map();
  crumbs = [];
  ticks = [];
  offset = null;
  reset({ you }) {
    this.me = you.id;
    this.ticks = [];
    this.offset = null;
  }
  add({ at, fish, crumbs }) {
    const now = performance.now();
    const offset = at - now;
    this.offset = this.offset === null ? offset : Math.max(offset, this.offset - 0.1);
    this.latest = fishById(fish);
    this.crumbs = crumbs;
    this.ticks.push({ at, fish: this.latest });
    if (this.ticks.length > KEPT) this.ticks.shift();
  }
  /** All fish at the shown moment. */
  shown() {
    const { ticks } = this;
    if (ticks.length < 2) return this.latest;
    const time = performance.now() + this.offset - DELAY;
    let next = ticks.findIndex(({ at }) => at > time);
    if (next === 0) return ticks[0].fish;
    if (next < 0) next = ticks.length - 1;
    const [before, after] = [ticks[next - 1], ticks[next]];
    const part = (Math.min(time, after.at + BEYOND) - before.at) / (after.at - before.at);
    const shown = /* @__PURE__ */ new Map();
    for (const [id, to] of after.fish) {
      const from = before.fish.get(id) ?? to;
      const heading = from.heading + turn(from.heading, to.heading) * part;
      const [x, y] = [from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part];
      const speed = Math.hypot(to.x - from.x, to.y - from.y) / (after.at - before.at) * 1e3;
      shown.set(id, { ...to, x, y, heading, speed });
    }
    return shown;
  }
};
function fishById(numbers) {
  const fish = /* @__PURE__ */ new Map();
  for (let at = 0; at < numbers.length; at += 6) {
    const [id, x, y, heading, level, energy] = numbers.slice(at, at + 6);
    fish.set(String(id), { id: String(id), x, y, heading: heading / 100, level, energy: energy / 100, speed: 0 });
  }
  return fish;
}
function turn(from, to) {
  const way = (to - from) % (2 * Math.PI);
  return 2 * way % (2 * Math.PI) - way;
}

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
  const ask = (problem = "") => {
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
    ask();
  }
  return ask;
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

// game/page/src/view/fish.js
var KINDS = [
  ["#ff7a3d", "#fff4e6"],
  ["#f8f2e8", "#e8542f"],
  ["#ffb02e", "#fff2cf"],
  ["#e63e62", "#ffe3ea"],
  ["#4b7bf5", "#dce8ff"],
  ["#3a3f52", "#f2f2f5"],
  ["#9168f5", "#eee5ff"],
  ["#12a594", "#d9fff7"],
  ["#f5d90a", "#6b5900"],
  ["#f76808", "#26221e"]
];
var JOINTS = 9;
function colours(id) {
  return KINDS[Number(id) % KINDS.length];
}
var lengthOf = (level) => 44 + 8 * level;
function drawFish(context, { id, x, y, heading, level, speed }, time, shadow) {
  const [body, patch] = colours(id);
  const length = lengthOf(level);
  const spine = spineOf(length, Number(id), time, speed);
  context.save();
  context.translate(x, y);
  context.rotate(heading);
  context.save();
  context.rotate(-heading);
  context.translate(7 + level, 12 + level * 2);
  context.rotate(heading);
  context.fillStyle = shadow;
  outline(context, spine);
  context.fill();
  context.restore();
  fins(context, spine, length, body);
  context.fillStyle = body;
  outline(context, spine);
  context.fill();
  context.fillStyle = patch;
  for (const joint of Number(id) % 2 ? [2, 5] : [1, 4, 6]) {
    const { x: x2, y: y2, half } = spine[joint];
    context.beginPath();
    context.ellipse(x2, y2, half * 0.9, half * 0.72, 0, 0, 2 * Math.PI);
    context.fill();
  }
  context.fillStyle = "#1a1a22";
  for (const side2 of [-1, 1]) {
    context.beginPath();
    context.arc(spine[1].x + length * 0.03, spine[1].y + side2 * spine[1].half * 0.72, length * 0.026, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}
function spineOf(length, number, time, speed) {
  const swing = length * (0.05 + Math.min(speed, 400) / 400 * 0.16);
  const pace = 4 + speed / 45;
  return Array.from({ length: JOINTS }, (_, joint) => {
    const s = joint / (JOINTS - 1);
    const y = swing * s * s * Math.sin(time * pace + number * 1.7 - s * 2.6);
    const half = length * 0.19 * Math.pow(Math.sin(Math.PI * (0.1 + 0.86 * s)), 0.8) * (1 - 0.35 * s);
    return { x: length * (0.5 - s * 0.86), y, half };
  });
}
function outline(context, spine) {
  const nose = spine[0];
  context.beginPath();
  context.moveTo(nose.x + nose.half * 0.9, nose.y);
  side(context, spine, -1);
  const [before, end] = spine.slice(-2);
  const [dx, dy] = [end.x - before.x, end.y - before.y];
  const [tx, ty] = [end.x + dx * 2.4, end.y + dy * 3.2];
  context.quadraticCurveTo(end.x + dx, end.y + dy - 2, tx - dy, ty + dx * 1.25);
  context.quadraticCurveTo(end.x + dx * 1.3, end.y + dy * 1.6, tx + dy, ty - dx * 1.25);
  context.quadraticCurveTo(end.x + dx, end.y + dy + 2, end.x, end.y + end.half);
  side(context, spine, 1);
  context.closePath();
}
function side(context, spine, sign) {
  const joints = sign < 0 ? spine : spine.toReversed();
  for (let joint = 0; joint < joints.length - 1; joint++) {
    const [here, next] = [joints[joint], joints[joint + 1]];
    const middle = { x: (here.x + next.x) / 2, y: (here.y + sign * here.half + next.y + sign * next.half) / 2 };
    context.quadraticCurveTo(here.x, here.y + sign * here.half, middle.x, middle.y);
  }
  const end = joints.at(-1);
  context.lineTo(end.x, end.y + sign * end.half);
}
function fins(context, spine, length, colour) {
  const { x, y, half } = spine[3];
  context.fillStyle = colour;
  context.globalAlpha = 0.6;
  for (const sign of [-1, 1]) {
    context.beginPath();
    context.moveTo(x + length * 0.08, y + sign * half * 0.7);
    context.quadraticCurveTo(x + length * 0.04, y + sign * (half + length * 0.17), x - length * 0.15, y + sign * (half + length * 0.15));
    context.quadraticCurveTo(x - length * 0.06, y + sign * half, x - length * 0.08, y + sign * half * 0.7);
    context.fill();
  }
  context.globalAlpha = 1;
}

// game/page/src/view/feed.js
var SHOWN_FOR2 = 7e3;
var AT_ONCE2 = 4;
var FADES = 400;
var Feed = class {
  meet(you) {
    this.me = you.id;
  }
  add({ id, name, level, title }) {
    const isMine = id === this.me;
    if (isMine) this.celebrate(title);
    const dot = element("i", "dot");
    dot.style.background = colours(id)[0];
    const line = element("li", isMine ? "mine" : "", dot, element("strong", "", isMine ? "You" : name), ` reached level ${level}: ${title}`);
    byId("feed").append(line);
    while (byId("feed").childElementCount > AT_ONCE2) byId("feed").firstElementChild.remove();
    setTimeout(() => line.classList.add("gone"), SHOWN_FOR2 - FADES);
    setTimeout(() => line.remove(), SHOWN_FOR2);
  }
  celebrate(title) {
    byId("grown").textContent = title;
    byId("grown").classList.remove("shown");
    void byId("grown").offsetWidth;
    byId("grown").classList.add("shown");
  }
};

// game/page/src/view/meters.js
var Meters = class {
  welcome({ score, level, levels }) {
    this.levels = levels;
    this.score({ score, level });
  }
  score({ score, level }) {
    const [from, to] = [this.levels[level - 1].score, this.levels[level]?.score];
    byId("score").textContent = score;
    byId("title").textContent = this.levels[level - 1].title;
    byId("level").textContent = level;
    byId("next").textContent = to === void 0 ? "the highest level" : `${to - score} to level ${level + 1}`;
    byId("progress").style.width = `${to === void 0 ? 100 : 100 * (score - from) / (to - from)}%`;
  }
  energy(part) {
    byId("energy").style.width = `${100 * part}%`;
  }
  latency(ms) {
    byId("latency").textContent = ms < 10 ? ms.toFixed(1) : Math.round(ms);
    byId("latency-quality").dataset.quality = ms < 60 ? "good" : ms < 180 ? "fair" : "poor";
  }
  fps(frames) {
    byId("fps").textContent = frames;
  }
};

// game/page/src/view/leaderboard.js
function showLeaderboard({ top, players, rank }, me2) {
  byId("leaders").replaceChildren(...top.map((entry) => row(entry, me2)));
  byId("rank").textContent = `${rank} of ${players}`;
  byId("players").textContent = players;
}
function row({ id, name, score, level }, me2) {
  const dot = element("i", "dot");
  dot.style.background = colours(id)[0];
  const row2 = element("li", id === me2 ? "me" : "", dot, element("span", "name", name), element("span", "level", `lv ${level}`), element("span", "score", String(score)));
  row2.dataset.score = score;
  return row2;
}

// game/page/src/view/scenery.js
function seeded(seed) {
  return () => {
    seed = (seed * 1664525 + 1013904223) % 4294967296;
    return seed / 4294967296;
  };
}
var TILE = 420;
var PADS = 46;
function palette() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["deep", "shallow", "glitter", "bank", "bank-edge", "pad", "pad-vein", "shadow", "crumb", "gold", "ripple", "label", "label-edge"];
  const found = Object.fromEntries(names.map((name) => [name, colour(name)]));
  probe.remove();
  return found;
}
var Scenery = class {
  constructor({ width, height }, colours2) {
    this.size = { width, height };
    this.colours = colours2;
    this.glitter = glitterTile(colours2.glitter);
    const random = seeded(7);
    this.pads = Array.from({ length: PADS }, () => {
      const far = Math.pow(random(), 1.7) * 0.42;
      const [x, y] = random() < 0.5 ? [random() * width, (random() < 0.5 ? far : 1 - far) * height] : [(random() < 0.5 ? far : 1 - far) * width, random() * height];
      return { x, y, radius: 26 + random() * 34, angle: random() * 7, flower: random() < 0.22 };
    });
    this.reeds = Array.from({ length: 150 }, (_, number) => {
      const [along, side2] = [random(), number % 4];
      const off = -8 - random() * 40;
      const [x, y] = side2 < 2 ? [along * width, side2 ? height - off : off] : [side2 === 2 ? off : width - off, along * height];
      return { x, y, radius: 6 + random() * 16 };
    });
  }
  /** Draws everything below the fish. `view` is the visible part of the pond. */
  drawBelow(context, view, time) {
    const { width, height } = this.size;
    context.fillStyle = this.colours.bank;
    context.fillRect(view.x, view.y, view.width, view.height);
    context.fillStyle = this.colours["bank-edge"];
    for (const { x, y, radius } of this.reeds) disc(context, x, y, radius);
    context.beginPath();
    context.roundRect(-24, -24, width + 48, height + 48, 90);
    context.strokeStyle = this.colours["bank-edge"];
    context.lineWidth = 18;
    context.stroke();
    const depth = context.createRadialGradient(width / 2, height / 2, height * 0.15, width / 2, height / 2, width * 0.62);
    depth.addColorStop(0, this.colours.deep);
    depth.addColorStop(1, this.colours.shallow);
    context.fillStyle = depth;
    context.fill();
    context.save();
    context.clip();
    this.drawGlitter(context, view, time * 9, time * 5);
    this.drawGlitter(context, view, 160 - time * 6, 90 + time * 7);
    context.restore();
  }
  drawGlitter(context, view, dx, dy) {
    const pattern = context.createPattern(this.glitter, "repeat");
    pattern.setTransform(new DOMMatrix().translate(dx % TILE, dy % TILE));
    context.fillStyle = pattern;
    context.fillRect(view.x, view.y, view.width, view.height);
  }
  drawAbove(context, view, time) {
    for (const pad of this.pads) {
      if (pad.x + 80 < view.x || pad.x - 80 > view.x + view.width || pad.y + 80 < view.y || pad.y - 80 > view.y + view.height) continue;
      context.save();
      context.translate(pad.x + Math.sin(time * 0.5 + pad.angle) * 3, pad.y + Math.cos(time * 0.4 + pad.angle) * 3);
      context.fillStyle = this.colours.shadow;
      disc(context, 7, 11, pad.radius * 0.96);
      context.rotate(pad.angle + Math.sin(time * 0.3 + pad.x) * 0.05);
      drawPad(context, pad, this.colours);
      context.restore();
    }
  }
};
function drawPad(context, { radius, flower }, colours2) {
  context.fillStyle = colours2.pad;
  context.beginPath();
  context.arc(0, 0, radius, 0.25, 2 * Math.PI - 0.25);
  context.lineTo(0, 0);
  context.fill();
  context.strokeStyle = colours2["pad-vein"];
  context.lineWidth = 1.5;
  context.beginPath();
  for (let vein = 1; vein < 8; vein++) {
    const angle = vein * Math.PI / 4;
    context.moveTo(0, 0);
    context.lineTo(Math.cos(angle) * radius * 0.82, Math.sin(angle) * radius * 0.82);
  }
  context.stroke();
  if (!flower) return;
  for (const [petals, reach, colour] of [[8, 0.5, "#f7a8c4"], [6, 0.34, "#fde3ec"]]) {
    context.fillStyle = colour;
    for (let petal = 0; petal < petals; petal++) {
      context.save();
      context.rotate(petal * 2 * Math.PI / petals);
      context.beginPath();
      context.ellipse(radius * reach * 0.6, 0, radius * reach * 0.5, radius * reach * 0.24, 0, 0, 2 * Math.PI);
      context.fill();
      context.restore();
    }
  }
  context.fillStyle = "#f9c846";
  disc(context, 0, 0, radius * 0.1);
}
function glitterTile(colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = TILE;
  const context = tile.getContext("2d");
  const random = seeded(3);
  context.strokeStyle = colour;
  context.lineCap = "round";
  context.filter = "blur(2.5px)";
  for (let line = 0; line < 60; line++) {
    const [x, y, angle, reach] = [random() * TILE, random() * TILE, random() * 7, 18 + random() * 42];
    context.lineWidth = 2 + random() * 5;
    for (const dx of [-TILE, 0, TILE]) {
      for (const dy of [-TILE, 0, TILE]) {
        context.beginPath();
        context.arc(x + dx, y + dy, reach, angle, angle + 1.1);
        context.stroke();
      }
    }
  }
  return tile;
}
function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// game/page/src/view/pond.js
var SEEN = 1080;
var BANK = 70;
var NAMED = 8;
var RIPPLE = 0.9;
var RIPPLES = 24;
var Pond = class {
  size = { width: 2400, height: 1600, golden: 10 };
  camera = { x: 1200, y: 800 };
  names = /* @__PURE__ */ new Map();
  effects = [];
  constructor(motion2) {
    this.motion = motion2;
    this.canvas = byId("pond");
    this.map = byId("map").getContext("2d");
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    const changed = () => {
      this.scenery = null;
    };
    new MutationObserver(changed).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  }
  welcome({ pond: pond2 }) {
    this.size = pond2;
    this.scenery = null;
    this.isAnew = true;
  }
  meet({ id, name }) {
    this.names.set(id, name);
  }
  /** Shows rings where a fish has eaten, and the points if it is that of this player. */
  ate({ id, score }) {
    const fish = this.motion.latest.get(id);
    if (!fish) return;
    const isMine = id === this.motion.me;
    const worth = isMine ? score - (this.score ?? score) : 0;
    if (isMine) this.score = score;
    if (!isMine && this.effects.length >= RIPPLES) return;
    const text = worth > 0 ? `+${worth}` : "";
    this.effects.push({ x: fish.x, y: fish.y, since: performance.now() / 1e3, isMine, text });
  }
  start(counted) {
    let [frames, second] = [0, performance.now()];
    const frame = (now) => {
      this.draw(now / 1e3);
      frames++;
      if (now - second >= 1e3) {
        counted(Math.round(frames * 1e3 / (now - second)));
        [frames, second] = [0, now];
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
  resize() {
    const sharp = Math.min(devicePixelRatio, 2);
    this.canvas.width = this.canvas.clientWidth * sharp;
    this.canvas.height = this.canvas.clientHeight * sharp;
  }
  draw(time) {
    this.scenery ??= new Scenery(this.size, this.colours = palette());
    const fish = this.motion.shown();
    const mine = fish.get(this.motion.me);
    this.follow(mine ?? { x: this.size.width / 2, y: this.size.height / 2 });
    const context = this.canvas.getContext("2d");
    const view = this.view();
    context.setTransform(view.scale, 0, 0, view.scale, -view.x * view.scale, -view.y * view.scale);
    this.scenery.drawBelow(context, view, time);
    this.drawCrumbs(context, view, time);
    const visible = [...fish.values()].filter((fish2) => isIn(fish2, view)).sort((a, b) => a.level - b.level);
    for (const one of visible) drawFish(context, one, time, this.colours.shadow);
    this.scenery.drawAbove(context, view, time);
    this.drawEffects(context);
    this.drawNames(context, visible, mine);
    this.drawMap(fish, mine, view);
  }
  follow({ x, y }) {
    const part = this.isAnew ? 1 : 0.12;
    if (this.motion.latest.size) this.isAnew = false;
    this.camera.x += (x - this.camera.x) * part;
    this.camera.y += (y - this.camera.y) * part;
  }
  /** The visible part of the pond, which ends a little beyond its bank. */
  view() {
    const { width, height } = this.canvas;
    const scale = Math.max(width, height) / SEEN;
    const view = { scale, width: width / scale, height: height / scale };
    const within = (middle, seen, all) => Math.max(-BANK, Math.min(middle - seen / 2, all + BANK - seen));
    view.x = within(this.camera.x, view.width, this.size.width);
    view.y = within(this.camera.y, view.height, this.size.height);
    return view;
  }
  drawCrumbs(context, view, time) {
    const { crumbs } = this.motion;
    for (let number = 0; number < crumbs.length / 2; number++) {
      const [x, y] = [crumbs[2 * number], crumbs[2 * number + 1]];
      if (!isIn({ x, y }, view)) continue;
      const isGolden = number % this.size.golden === 0;
      const radius = (isGolden ? 8 : 5) + Math.sin(time * 2.4 + number) * 0.8;
      context.fillStyle = isGolden ? this.colours.gold : this.colours.crumb;
      context.globalAlpha = 0.22;
      disc(context, x, y, radius * 2.1);
      context.globalAlpha = 1;
      disc(context, x, y, radius);
    }
  }
  drawEffects(context) {
    const now = performance.now() / 1e3;
    this.effects = this.effects.filter(({ since }) => now - since < RIPPLE);
    for (const { x, y, since, isMine, text } of this.effects) {
      const part = (now - since) / RIPPLE;
      context.globalAlpha = (isMine ? 1 : 0.45) * (1 - part);
      context.strokeStyle = this.colours.ripple;
      context.lineWidth = 3 * (1 - part) + 0.5;
      for (const reach of [60, 34]) {
        context.beginPath();
        context.arc(x, y, 8 + reach * part, 0, 2 * Math.PI);
        context.stroke();
      }
      if (text) this.write(context, text, x, y - 52 - 36 * part, 24);
    }
    context.globalAlpha = 1;
  }
  drawNames(context, visible, mine) {
    if (!mine) return;
    const far = ({ x, y }) => Math.hypot(x - mine.x, y - mine.y);
    const nearest = visible.toSorted((a, b) => far(a) - far(b)).slice(0, NAMED);
    for (const { id, x, y, level } of nearest) {
      const isMine = id === this.motion.me;
      context.globalAlpha = isMine ? 1 : 0.85;
      this.write(context, isMine ? "You" : this.names.get(id) ?? "", x, y - lengthOf(level) * 0.5 - 12, isMine ? 17 : 14);
    }
    context.globalAlpha = 1;
  }
  write(context, text, x, y, size) {
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.lineJoin = "round";
    context.strokeStyle = this.colours["label-edge"];
    context.lineWidth = size / 4;
    context.strokeText(text, x, y);
    context.fillStyle = this.colours.label;
    context.fillText(text, x, y);
  }
  /** Draws the map: each fish as a dot, the visible part as a frame. */
  drawMap(fish, mine, view) {
    const { map } = this;
    const { width, height } = map.canvas;
    const scale = width / this.size.width;
    map.setTransform(1, 0, 0, 1, 0, 0);
    map.clearRect(0, 0, width, height);
    map.setTransform(scale, 0, 0, scale, 0, 0);
    map.globalAlpha = 0.9;
    for (const { id, x, y, level } of fish.values()) {
      map.fillStyle = colours(id)[0];
      disc(map, x, y, 14 + level * 3);
    }
    map.globalAlpha = 1;
    map.strokeStyle = this.colours.label;
    map.lineWidth = 12;
    if (mine) {
      map.beginPath();
      map.arc(mine.x, mine.y, 48, 0, 2 * Math.PI);
      map.stroke();
    }
    map.globalAlpha = 0.45;
    map.strokeRect(view.x, view.y, view.width, view.height);
    map.globalAlpha = 1;
  }
};
function isIn({ x, y }, view) {
  return x > view.x - 90 && x < view.x + view.width + 90 && y > view.y - 90 && y < view.y + view.height + 90;
}

// game/page/src/main.js
wireTheme();
var me = new Me("pond-game", ["Barbel", "Bream", "Carp", "Dace", "Koi", "Perch", "Pike", "Roach", "Tench", "Trout"]);
var motion = new Motion();
var pond = new Pond(motion);
var meters = new Meters();
var feed = new Feed();
var game = null;
var controls = new Controls((course) => game?.steer(course));
var autopilot = new Autopilot(motion, (course) => game?.steer(course));
var on = {
  connection: showConnection,
  problem: toast,
  latency: (ms) => meters.latency(ms),
  welcome(welcome) {
    motion.reset(welcome);
    pond.welcome(welcome);
    meters.welcome(welcome);
    feed.meet(welcome.you);
    controls.again();
  },
  tick(tick) {
    motion.add(tick);
    const mine = motion.latest.get(motion.me);
    if (mine) meters.energy(mine.energy);
  },
  score(update) {
    pond.ate(update);
    if (update.id === motion.me) meters.score(update);
  },
  achievement: (achievement) => feed.add(achievement),
  leaderboard: (board) => showLeaderboard(board, motion.me),
  player: (player) => pond.meet(player)
};
function setAutopilot(isOn) {
  controls.isOff = isOn;
  autopilot.set(isOn);
  if (!isOn) controls.again();
  byId("autopilot").setAttribute("aria-pressed", isOn);
}
var toggleAutopilot = () => setAutopilot(!autopilot.isOn);
byId("autopilot").addEventListener("click", toggleAutopilot);
addEventListener("keydown", (event) => {
  if (event.key === "p" && game) toggleAutopilot();
});
wireStart(me.name, (name) => {
  me.name = name;
  byId("hud").hidden = false;
  game = new Game({ token: me.token, name }, on);
  controls.wire(byId("pond"), byId("dash"), () => setAutopilot(false));
});
pond.start((fps) => meters.fps(fps));

// Channels of Centrifuge, the library that Centrifugo is made of.
//
// Tuned as the documentation of its options says: buffers for writing come from a pool, and small ones suffice for small
// messages; messages compressed for one client are kept for the others; replies do not wait in the queue of publications; a
// client may be 16 MiB behind before it is closed. Write delays and batches of a channel, which trade latency for
// fewer system calls, are left off, as they are by default: a saturated client gets 16 messages in a frame all the same.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/centrifugal/centrifuge"
)

func main() {
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	if url := os.Getenv("REDIS_URL"); url != "" {
		if err := useRedis(node, url); err != nil {
			log.Fatal(err)
		}
	}
	node.OnConnecting(connecting)
	node.OnConnect(connected)
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize:                      1024,
		UseWriteBufferPool:                  true,
		MessageSizeLimit:                    1 << 20,
		Compression:                         os.Getenv("COMPRESSION") == "on",
		CompressionLevel:                    1,
		CompressionPreparedMessageCacheSize: 16 << 20,
	}))
	mux.Handle("/connection/sse", centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{}))

	port := os.Getenv("PORT")
	if port == "" {
		port = "0"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)
	if key := os.Getenv("TLS_KEY"); key != "" {
		log.Fatal(http.ServeTLS(listener, mux, os.Getenv("TLS_CERTIFICATE"), key))
	}
	log.Fatal(http.Serve(listener, mux))
}

// useRedis makes the node one of several over this Redis, as the documentation of RedisBroker says.
func useRedis(node *centrifuge.Node, url string) error {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: url})
	if err != nil {
		return err
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		return err
	}
	node.SetBroker(broker)
	return nil
}

// connecting subscribes clients to the channel that they name as they connect, if they do: those of event streams have no
// other way to say it.
func connecting(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	reply := centrifuge.ConnectReply{
		Credentials:       &centrifuge.Credentials{UserID: event.ClientID},
		ReplyWithoutQueue: event.Transport.Name() == "websocket",
	}
	var wanted struct{ Channel string }
	if json.Unmarshal(event.Data, &wanted) == nil && wanted.Channel != "" {
		reply.Subscriptions = map[string]centrifuge.SubscribeOptions{wanted.Channel: {}}
	}
	return reply, nil
}

func connected(client *centrifuge.Client) {
	client.OnSubscribe(func(event centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
		present := strings.HasPrefix(event.Channel, "/presence/")
		done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{
			EmitPresence:  present,
			EmitJoinLeave: present,
			PushJoinLeave: present,
		}}, nil)
	})
	client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
		done(centrifuge.PublishReply{}, nil)
	})
	client.OnRPC(func(event centrifuge.RPCEvent, done centrifuge.RPCCallback) {
		done(centrifuge.RPCReply{Data: event.Data}, nil)
	})
}

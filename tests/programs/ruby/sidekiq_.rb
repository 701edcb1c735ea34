# Sidekiq: jobs, later ones, retries, its statistics; the worker is this file, loaded by the sidekiq program. QUEUES: the
# queues that it serves, with commas; jobs go to each in turn.
require "sidekiq"
require "sidekiq/api"

QUEUES = ENV.fetch("QUEUES", "default").split(",")
URL = "redis://127.0.0.1:#{ENV.fetch("PORT")}"
Sidekiq.configure_server do |config|
  config.redis = { url: URL }
  config.options[:poll_interval_average] = 0.5
end
Sidekiq.configure_client { |config| config.redis = { url: URL } }

class Square
  include Sidekiq::Worker
  def perform(number)
    Sidekiq.redis { |redis| redis.hset("results", number, number * number) }
  end
end

class Flaky
  include Sidekiq::Worker
  sidekiq_options retry: 3
  sidekiq_retry_in { 1 }
  def perform
    raise "the first time" if Sidekiq.redis { |redis| redis.incr("tries") } < 2
    Sidekiq.redis { |redis| redis.set("flaky", "done") }
  end
end

def wait_for(what)
  300.times { return if yield; sleep 0.1 }
  abort "waited in vain for #{what}"
end

if $PROGRAM_NAME == __FILE__
  served = QUEUES.flat_map { |queue| ["-q", queue] }
  worker = spawn("sidekiq", "-r", File.expand_path(__FILE__), "-c", "4", *served, out: "/dev/null", err: "/dev/null")
  begin
    50.times { |number| Square.set(queue: QUEUES[number % QUEUES.size]).perform_async(number) }
    Sidekiq::Client.push_bulk("class" => Square, "queue" => QUEUES.last, "args" => (50...80).map { |number| [number] })
    Square.perform_in(1, 100)
    Flaky.perform_async
    wait_for("jobs") { Sidekiq.redis { |redis| redis.hlen("results") } == 81 }
    wait_for("retries") { Sidekiq.redis { |redis| redis.get("flaky") } == "done" }
    wait_for("statistics") { Sidekiq::Stats.new.processed >= 82 }
    abort "assert one process" unless Sidekiq::ProcessSet.new.size == 1
    QUEUES.each { |queue| Sidekiq::Queue.new(queue).clear }
  ensure
    Process.kill("TERM", worker)
    Process.wait(worker)
  end
  puts "ok"
end

"""What tests share: servers, homes, databases, payloads. No test module imports another; what two need stands here."""

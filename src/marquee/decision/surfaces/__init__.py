"""The declaration of surfaces, places in an app: read by the service, and by whoever scores as it would."""
